"""A job: the same action on many executions, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ...errors import StillRunning
from ..records.records import JobRecord
from .address import job_path
from .asking import listed
from .finding import Found, where_of
from .waiting import QUESTION_S, WAIT_S, deadline_of, through_outage

if TYPE_CHECKING:
    from .client import Client

Action = Literal["abort", "retry", "rerun", "label", "hold", "release"]

TELL_S = 1.0  # between two tellings of the progress


class Job:
    """`count` is how many executions it acts on; they are fixed, and `targets_digest` names them."""

    def __init__(self, client: Client, answer: dict[str, Any]) -> None:
        self.id: str = answer["id"]
        self.action: str = answer["action"]
        self.count: int = answer["count"]
        self.targets_digest: str = answer["targets_digest"]
        self._client = client

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.action}, {self.count} executions)"

    def record(self) -> JobRecord:
        """How far it is now, by shard, and what was refused."""
        return self._client.job_record(self.id)

    def wait(self, timeout: float | None = WAIT_S, told: Callable[[JobRecord], object] | None = None) -> JobRecord:
        """Its record once nothing is left to do; what was refused says so there, and raises nothing.

        `told` hears of the progress about once a second. Raises StillRunning (also a TimeoutError) after `timeout`
        seconds. Where a ledger is away the job goes on when it is back.
        """
        connection, deadline = self._client.connection, deadline_of(timeout)
        while True:
            left = deadline - time.monotonic()
            wait = max(0.0, min(left, TELL_S if told else QUESTION_S))
            ask = partial(connection.get, job_path(self.id), wait=wait)
            record = JobRecord.read(through_outage(connection, ask, deadline))
            if told:
                told(record)
            if record.status == "ended":
                return record
            if left <= wait:
                raise StillRunning(f"{record.waiting} of {record.count} are not done in job {self.id}. Wait again.")


def job_body(
    action: str,
    executions: Sequence[str | int],
    reason: str | None,
    labels: Mapping[str, str | None] | None,
    changes: Mapping[str, Any] | None,
    where: Found,
) -> dict[str, Any]:
    """As the gateway takes it: what is not said is left out."""
    said = {
        "reason": reason,
        "executions": [str(each) for each in listed("executions", executions)],
        "where": where_of(where),
        "labels": labels and dict(labels),
        "changes": changes,
    }
    return {"action": action, **{name: value for name, value in said.items() if value}}
