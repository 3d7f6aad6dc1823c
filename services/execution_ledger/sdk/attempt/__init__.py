"""What running code has: its context, and all that it records, keeps and shares through it."""
