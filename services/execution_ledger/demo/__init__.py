"""What `exledger demo` runs and shows: real data, real pipelines, and a story that is told from the live events."""
