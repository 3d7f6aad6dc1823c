"""The addresses of the data store: paths of plain characters that mean the same in every object store."""

from __future__ import annotations

import re

FOLDER = "data"
PATH_CHARS_MAX = 512
PARTS_MAX = 16

_PART = re.compile(r"[A-Za-z0-9_.=@+,()~ -]{1,200}")


def wrong_path(path: str) -> str | None:
    """What keeps it from being an address, in words; None where nothing does."""
    if not 0 < len(path) <= PATH_CHARS_MAX:
        return f"has {len(path)} characters, and may have 1 to {PATH_CHARS_MAX}"
    parts = path.split("/")
    if len(parts) > PARTS_MAX:
        return f"has {len(parts)} parts, and may have {PARTS_MAX}"
    for part in parts:
        if not _PART.fullmatch(part) or part in (".", "..") or part != part.strip():
            return f"has the part {part[:50]!a}: take letters, digits and _.=@+,()~- , with one / between two parts"
    return None
