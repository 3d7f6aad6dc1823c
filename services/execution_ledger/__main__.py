"""`python -m execution_ledger` is `exledger`: how a supervisor starts a service with the very Python it runs on."""

from __future__ import annotations

from .cli import app

if __name__ == "__main__":
    app()
