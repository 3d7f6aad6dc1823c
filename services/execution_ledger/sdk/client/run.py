"""A run: one execution that this program has asked for, and what it may ask about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from ..records.explanations import Explanation
from ..records.records import Event, Execution, LogLine
from .kept import Artifact, Metric
from .waiting import ENDED, WAIT_S

if TYPE_CHECKING:
    from .asking import Changes
    from .client import Client


class Run:
    """`id` and `name` never change; everything else is asked anew each time."""

    def __init__(self, client: Client, answer: dict[str, Any]) -> None:
        self.id: str = answer["id"]
        self.name: str = answer["name"] or self.id  # of a repeated batch's child the name may be forgotten
        self._client = client

    def __repr__(self) -> str:
        return f"Run({self.name!r})"

    @property
    def status(self) -> str:
        """As it is now: queued, started, abort_requested, completed, failed or aborted."""
        return self.execution().status

    def execution(self) -> Execution:
        """The whole record, as it is now."""
        return self._client.execution(self.id)

    def wait(self, timeout: float | None = WAIT_S, *, check: bool = True) -> Execution:
        """The record once it has ended, as `Client.wait` says: failed and aborted raise unless `check` is False."""
        return self._client.wait(self.id, timeout, check=check)

    def abort(self, reason: str | None = None, *, key: str | None = None) -> str:
        """Asks it to end, as `Client.abort` says."""
        return self._client.abort(self.id, reason, key=key)

    def retry(self, *, key: str | None = None) -> Run:
        """Runs it once more with all that it was asked for, as `Client.retry` says."""
        return self._client.retry(self.id, key=key)

    def rerun(self, *, key: str | None = None, **changes: Unpack[Changes]) -> Run:
        """Runs it once more with changes, as `Client.rerun` says."""
        return self._client.rerun(self.id, key=key, **changes)

    def hold(self, reason: str | None = None, *, key: str | None = None) -> None:
        """Keeps it from being started, as `Client.hold` says."""
        self._client.hold(self.id, reason, key=key)

    def release(self, reason: str | None = None, *, key: str | None = None) -> None:
        """Lets it be started, as `Client.release` says."""
        self._client.release(self.id, reason, key=key)

    def label(self, labels: Mapping[str, str | None], reason: str | None = None, *, key: str | None = None) -> None:
        """Sets and takes away labels, as `Client.label` says."""
        self._client.label(self.id, labels, reason, key=key)

    @property
    def outputs(self) -> dict[str, Any]:
        """What came out, once it has completed: waits for that as `wait` does. Files are a `File` each."""
        return self.wait().outputs or {}

    def artifacts(self) -> list[Artifact]:
        """What it has recorded, as `Client.artifacts` says."""
        return self._client.artifacts(self.id)

    def plots(self) -> list[Artifact]:
        """The plots that it has recorded."""
        return self._client.plots(self.id)

    def metrics(self) -> list[Metric]:
        """What it has measured, lists with all their values."""
        return list(self._client.metrics(execution=self.id))

    def history(self) -> Iterator[Event]:
        """Its events up to now, oldest first."""
        return self._client.history(self.id)

    def events(self) -> Iterator[Event]:
        """Its events from the first to the one that ends it, each as soon as it is written."""
        for event in self._client.events("", execution=self.id):
            yield event
            if event.type.split(".")[-2] in ENDED:
                return

    def logs(self, *, follow: bool = False, attempt: int | None = None, step: str | None = None) -> Iterator[LogLine]:
        """What it has printed and logged, as `Client.logs` says."""
        return self._client.logs(self.id, follow=follow, attempt=attempt, step=step)

    def explain(self) -> Explanation:
        """Why it is not running, and what to do about it."""
        return self._client.explain(self.id)
