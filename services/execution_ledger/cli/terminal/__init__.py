"""What commands read from a terminal, and how they write to it."""
