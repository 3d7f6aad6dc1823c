"""The view store: the second of the project's two seams. `postgres.py` and `memory.py` pass one contract suite."""

from __future__ import annotations

from typing import Protocol

from .changes import Changes, StoredPosition


class ViewStore(Protocol):
    """Holds what the projector makes of the log. Shards are independent of each other; one call at a time for each.

    All may raise Unavailable while the store is away, and BrokenHistory where what it holds contradicts itself or
    the log.
    """

    async def prepare(self) -> None:
        """Makes the store usable by this release; safe to repeat, and by several processes at once."""
        ...

    async def position(self, shard: int) -> StoredPosition | None:
        """How far this shard has come; None where nothing was ever written."""
        ...

    async def apply(self, expected: StoredPosition | None, changes: Changes) -> None:
        """Moves the shard from `expected` to `changes.position` and writes all its rows, or nothing.

        Raises OutcomeUnknown when the shard is elsewhere (another projector moved it) and when no answer came: in
        either case only `position` can tell where it is now.
        """
        ...

    async def close(self) -> None:
        """Lets everything go that is held open; safe to repeat."""
        ...
