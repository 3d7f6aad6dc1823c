"""`exledger`, and `python -m execution_ledger`: how a supervisor starts a service with the very Python it runs on."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Ctrl-C shows no traceback either while commands are still being loaded, which takes a moment."""
    try:
        from .cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
