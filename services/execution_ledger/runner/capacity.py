"""How many tokens a runner may hold: all of them, and all that it offers, must fit into one heartbeat."""

from __future__ import annotations

from collections.abc import Mapping

from execution_ledger.errors import BadSettings
from execution_ledger.messages.heartbeats import HeldToken, RunnerBeat
from execution_ledger.messages.parts import MESSAGE_BYTES_MAX

_OFFSET_MAX = 2**63 - 1
_COUNT_MAX = 2**31 - 1
_ID_LENGTH = 36
_BEAT = RunnerBeat(
    process="x" * 255, inbox=_COUNT_MAX, inbox_offset=_OFFSET_MAX, slots=_COUNT_MAX, tokens=[], offers={}
)
_TOKEN = HeldToken.model_construct(execution_id="x" * _ID_LENGTH, attempt=_COUNT_MAX, phase="running")


def held_max(slots: int, offers: Mapping[str, str]) -> int:
    """Raises BadSettings where not even what runs at once fits beside the offers."""
    empty = len(_BEAT.model_copy(update={"offers": offers}).model_dump_json())
    fitting = (MESSAGE_BYTES_MAX - empty) // (len(_TOKEN.model_dump_json()) + 1)  # with its comma
    if fitting < slots:
        raise BadSettings(
            f"This runner's {len(offers):,} pipelines and {slots:,} slots do not fit into one heartbeat of"
            f" {MESSAGE_BYTES_MAX:,} bytes. Divide the pipelines between several runners, or give it fewer slots."
        )
    return fitting
