"""Position: how far a reader has come, as one opaque word: `0.12-1.345` is shard 0 up to 12 and shard 1 up to 345."""

from __future__ import annotations

import re
from collections.abc import Mapping

from execution_ledger.errors import BadRequest

_POSITION = re.compile(r"[0-9]{1,4}\.[0-9]{1,18}(-[0-9]{1,4}\.[0-9]{1,18})*")
Position = Mapping[int, int]  # shard -> the last sequence that is included; a shard without any is left out


def position_text(position: Position) -> str:
    return "-".join(f"{shard}.{sequence}" for shard, sequence in sorted(position.items()) if sequence)


def parse_position(text: str) -> Position:
    """Raises BadRequest for what `position_text` cannot have made."""
    pairs = [part.split(".") for part in text.split("-")] if _POSITION.fullmatch(text) else []
    position = {int(shard): int(sequence) for shard, sequence in pairs}
    if len(position) != len(pairs) or (text and not pairs):
        raise BadRequest(f"{text[:200]!r} is not a position. Pass one that an answer gave you, unchanged.")
    return position


def covers(reached: Position, wanted: Position) -> bool:
    return all(reached.get(shard, 0) >= sequence for shard, sequence in wanted.items())


def joined(one: Position, other: Position) -> Position:
    """The least position that covers both."""
    return {shard: max(one.get(shard, 0), other.get(shard, 0)) for shard in {*one, *other}}
