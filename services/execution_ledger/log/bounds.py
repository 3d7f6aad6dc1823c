"""What every log refuses, in the same words: records that are too large, and positions outside the log.

The size is known before anything is sent: a record that the broker refuses in the middle of a transaction costs a
take-over, and would cost one each time it is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BadRequest
from .protocol import Lane, Outgoing

RECORD_BYTES_MAX = 1_000_000  # below Kafka's default max.message.bytes (1,048,588) with room for a batch's header
RECORD_OVERHEAD_BYTES = 32  # lengths, time and offset of a record
HEADER_OVERHEAD_BYTES = 10  # two lengths of at most 5 bytes


def bytes_of(record: Outgoing) -> int:
    headers = sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in record.headers)
    return RECORD_OVERHEAD_BYTES + len(record.key) + len(record.value) + headers


def refuse_oversized(lane: Lane, batch: Sequence[Outgoing]) -> None:
    """Raises BadRequest naming the first record that no log would take; nothing has been sent then."""
    for record in batch:
        if (size := bytes_of(record)) > RECORD_BYTES_MAX:
            raise BadRequest(
                f"A record for {lane.topic} with key {record.key[:64]!r} has {size:,} bytes, more than the "
                f"{RECORD_BYTES_MAX:,} that the log takes. Nothing was written. Keep large values outside and send "
                "a reference."
            )


def outside(lane: Lane, position: int, begin: int, end: int) -> str:
    return (
        f"Position {position} of {lane.topic}/{lane.partition} lies outside the log, which holds {begin} to {end}. "
        "What was there is gone, or the topic was made anew: restore it, or start from a position that exists."
    )
