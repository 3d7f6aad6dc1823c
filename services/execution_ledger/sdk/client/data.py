"""`client.data`: what pipelines and people share, under paths."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from ...errors import BadRequest
from ...messages.data import wrong_path
from ..file import File, media_type_of, reading

if TYPE_CHECKING:
    from .http import Connection

PAGE_SIZE = 500


class ClientData:
    """Raises BadRequest for what is no path, or is not there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, path: str, content: bytes | Path | str | File | BinaryIO) -> None:
        """Whole or not at all, in place of what was there. A `str` is the path of a file."""
        if isinstance(content, bytes):
            content = io.BytesIO(content)
        with reading(content) as source:
            self._connection.send("PUT", _address(path), source, media_type_of(path))

    def get(self, path: str) -> File:
        """Its bytes come when they are first asked for, as what lies there then."""
        address = _address(path)
        return File.fetched(path.rpartition("/")[2], lambda into: self._connection.fetch(address, into))

    def list(self, prefix: str = "") -> Mapping[str, int]:
        """What lies at this path or below it: sizes in bytes by path, in order."""
        pages = self._connection.pages("/v1/data", {"prefix": prefix}, PAGE_SIZE)
        return {item["path"]: item["size"] for item in pages}

    def delete(self, path: str) -> bool:
        """Whether there was anything."""
        return bool(self._connection.delete(_address(path))["existed"])


def _address(path: str) -> str:
    """Checked here, too: an HTTP client takes `..` for a step of its own."""
    if not isinstance(path, str):
        raise BadRequest(f"{path!r:.100} is no path of data: it is a text, like models/pump.json.")
    if wrong := wrong_path(path):
        raise BadRequest(f"The path {path[:100]!a} {wrong}.")
    return f"/v1/data/{quote(path)}"
