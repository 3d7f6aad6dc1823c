"""What this gateway follows: the tail of all events, and what is known from it."""
