"""What a ledger answers, with types."""
