"""What may happen to an execution, a pipeline, a batch: pure rules, no I/O."""
