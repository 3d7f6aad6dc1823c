"""Commands and reports in, events out: one fenced writer per shard."""
