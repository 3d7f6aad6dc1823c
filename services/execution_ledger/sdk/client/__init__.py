"""What programs ask a ledger with: the client, and the connection beneath it."""
