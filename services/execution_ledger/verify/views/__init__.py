"""What the views must show of the log, and what they do show."""
