"""Trials: the real services under conditions that a person chooses."""
