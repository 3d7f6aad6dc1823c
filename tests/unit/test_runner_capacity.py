"""A heartbeat holds all that a runner offers and all that it holds, however much that is."""

from __future__ import annotations

import pytest

from execution_ledger.errors import BadSettings
from execution_ledger.messages.heartbeats import HeldToken, RunnerBeat
from execution_ledger.messages.parts import MESSAGE_BYTES_MAX
from execution_ledger.runner.capacity import held_max
from unit.runner_stage import a_token


def offers(count: int) -> dict[str, str]:
    return {f"a-pipeline-with-a-long-name-{number:06}": "d" * 64 for number in range(count)}


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_what_may_be_held_fits_into_a_heartbeat_beside_the_offers(count: int) -> None:
    offered = offers(count)
    held = HeldToken(execution_id=a_token().execution_id, attempt=2**31 - 1, phase="waiting")
    beat = RunnerBeat(
        process="runner-" + "h" * 200,
        inbox=63,
        inbox_offset=2**40,
        slots=100,
        tokens=[held] * held_max(100, offered),
        offers=offered,
        draining=True,
    )
    size = len(beat.model_dump_json())
    assert 0.85 * MESSAGE_BYTES_MAX < size <= MESSAGE_BYTES_MAX


def test_pipelines_that_leave_no_room_for_what_runs_are_refused_with_what_to_do() -> None:
    with pytest.raises(BadSettings, match="Divide the pipelines between several runners"):
        held_max(100, offers(10_000))
