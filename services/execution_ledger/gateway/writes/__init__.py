"""What is asked for, checked and made into commands, and what the ledger decided."""
