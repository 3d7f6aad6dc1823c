"""Records that have no business on a topic, for every topic alike: made of its own examples, and of nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from execution_ledger.log.protocol import Topic

Bare = tuple[bytes | None, bytes | None]  # key and value

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
RECORD_BYTES = 1_000_000
_NEVER_RIGHT: tuple[Any, ...] = ([], {}, 10**30, -(10**30), 1.5, "\ud800", "x" * 20_000, {"deep": [[[]]]})
_ALIKE = ((dict | list, dict | list), (float, int | float))
_NO_MESSAGES = (
    None,
    b"",
    b"\x00",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"\xff\xfe",
    b"NaN",
    b"[" * 100_000,
    b'{"type": 3}',
    b'{"type": "nonsense.v1"}',
    b"x" * RECORD_BYTES,
)


def bad_records(topic: Topic, key: bytes, every: int = 1) -> list[Bare]:
    """All under `key`, and some under none or a strange one; of the spoiled examples every so many."""
    spoiled = [bad for example in _examples(topic) for bad in _spoiled(example)]
    values = [*_NO_MESSAGES, *spoiled[::every]]
    return [*((key, value) for value in values), (None, None), (None, b"{"), (b"", b"{"), (b"\xff" * 300, b"{")]


def _examples(topic: Topic) -> Iterator[bytes]:
    for path in sorted((EXAMPLES / topic).glob("*.json")):
        yield path.read_bytes().strip()


def _spoiled(example: bytes) -> Iterator[bytes]:
    yield example[:-1]
    yield example + b"x"
    yield re.sub(rb'"type":"([a-z_]+)\.v1"', rb'"type":"\1.v9"', example)
    yield b'{"unknown":1,' + example[1:]
    yield b'{"large":"' + b"x" * (RECORD_BYTES - len(example) - 20) + b'",' + example[1:]
    whole = json.loads(example)
    for name in sorted(whole.keys() - {"time"}):  # a reporter's clock may say anything
        for value in _NEVER_RIGHT:
            if not _may_be_right(whole[name], value):
                yield json.dumps({**whole, name: value}).encode()
        yield json.dumps({**whole, name: 0}).replace(f'"{name}": 0', f'"{name}": NaN').encode()
        yield json.dumps({**whole, name: 0}).replace(f'"{name}": 0', f'"{name}": 1e400').encode()


def _may_be_right(right: Any, value: Any) -> bool:
    """Of the same kind: any number where a measured one is, any document where one is."""
    return any(isinstance(right, one) and isinstance(value, other) for one, other in _ALIKE)
