"""The simulator: the real services on one virtual clock, with a seeded choice of what runs next."""
