"""Where a pipeline's code runs."""
