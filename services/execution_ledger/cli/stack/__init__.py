"""The processes of an `exledger dev`: what is started, how it is watched, and what is shown of it."""
