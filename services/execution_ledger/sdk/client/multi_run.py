"""A multi-run: the executions of one batch, followed together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import StillRunning
from ..records.records import Child, ExecutionSummary
from .run import Run
from .waiting import WAIT_S, deadline_of, through_outage, until_end

if TYPE_CHECKING:
    from .client import Client

LIVE = ("queued", "started", "abort_requested")
PAGE_MAX = 500
TELL_S = 1.0  # between two tellings of the progress

Progress = Mapping[str, int]


class MultiRun:
    """`id` is the batch's; `runs` are its executions in the order asked for; `rejected` are those that never were."""

    def __init__(self, client: Client, answer: dict[str, Any]) -> None:
        self.id: str = answer["id"]
        children = [Child.read(each) for each in answer["executions"]]
        self.runs = [Run(client, child.model_dump()) for child in children if child.refusal is None]
        self.rejected = [child for child in children if child.refusal is not None]
        self._client = client
        self._position: str = answer["position"]

    def __repr__(self) -> str:
        return f"MultiRun({self.id!r}, {len(self.runs)} runs)"

    def outcomes(self) -> list[ExecutionSummary]:
        """Each execution as it is now, in the order of `runs`; `why` tells of one that failed.

        Outputs, failures and all else of one: `Client.execution` of its name.
        """
        found = {each.id: each for each in self._list()}
        return [found[run.id] for run in self.runs]

    def progress(self) -> Progress:
        """How many there are of each status."""
        return Counter(each.status for each in self._list())

    def wait(
        self, timeout: float | None = WAIT_S, told: Callable[[Progress], object] | None = None
    ) -> list[ExecutionSummary]:
        """The outcomes once all have ended, however they did: one that fails says nothing of the others.

        `told` hears of the progress at most once a second. Raises StillRunning (also a TimeoutError) after `timeout`
        seconds.
        """
        connection, deadline = self._client.connection, deadline_of(timeout)
        tell_at = time.monotonic()
        while (last := through_outage(connection, self._newest_live, deadline)) is not None:
            for record in until_end(connection, last.id, deadline):
                self._position = record["position"]  # through another gateway, too, the next list includes this end
                if told and time.monotonic() >= tell_at:
                    told(self.progress())
                    tell_at = time.monotonic() + TELL_S
            if time.monotonic() >= deadline:
                raise StillRunning(f"{last.name} of batch {self.id} has not ended. Wait again, or abort the rest.")
        if told:
            told(self.progress())
        return self.outcomes()

    def abort(self, reason: str | None = None) -> list[str]:
        """Asks all that have not ended to end, as one job; returns their names, without those that had ended."""
        live = {each.id: each.name for each in self._list(status=LIVE)}
        if not live:
            return []
        told = self._client.job("abort", list(live), reason=reason).wait()
        refused = {refusal.id for refusal in told.refusals}
        return [name for id_, name in live.items() if id_ not in refused]

    def retry_failed(self, *, key: str | None = None) -> MultiRun:
        """Runs those that failed once more, as a batch of their own, as `Client.retry_batch` says."""
        return self._client.retry_batch(self.id, key=key)

    def _newest_live(self) -> ExecutionSummary | None:
        """As a rule the last one to end: waiting for it first makes the fewest questions."""
        return next(self._list(status=LIVE, page_size=1), None)

    def _list(self, **narrowed: Any) -> Iterator[ExecutionSummary]:
        return self._client.executions(
            batch=self.id, min_position=self._position, **{"page_size": PAGE_MAX, **narrowed}
        )
