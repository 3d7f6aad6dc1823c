"""The runner: inbox in, reports out; runs the users' code."""
