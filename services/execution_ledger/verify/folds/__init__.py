"""What ledgers and dispatchers must have made of the log, and what they keep of it in snapshots."""
