"""What a runner lends the code that it runs: the object store, from whichever thread the code is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO, Protocol

from execution_ledger.messages.files import FileRef


class Store(Protocol):
    """Blocks; on the event loop only `keep` may be called. Raises StoreAway where the store does not answer."""

    def keep(self, content: bytes | BinaryIO, then: Callable[[str, int], None]) -> None:
        """`then` hears of its sha256 and size once it is there. On the loop it goes on beside the code, whose attempt
        does not end before it."""
        ...

    def fetch(self, ref: FileRef, into: BinaryIO) -> None: ...

    def put_data(self, path: str, content: bytes | BinaryIO) -> None: ...

    def fetch_data(self, path: str, into: BinaryIO) -> None: ...

    def data(self, prefix: str) -> Mapping[str, int]:
        """Sizes by path."""
        ...

    def delete_data(self, path: str) -> None: ...
