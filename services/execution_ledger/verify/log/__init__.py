"""The log, event by event: what each event must be, given those before it and what it was asked for with."""
