"""What code records of itself beside its outputs: artifacts and metrics, each within its bounds."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from execution_ledger.errors import BadRequest
from execution_ledger.messages.files import ArtifactName, FileRef, file_payload
from execution_ledger.messages.metrics import MetricName
from execution_ledger.messages.reports import ReportArtifact, ReportMetric, Said

from .metrics import parts_of
from .rendering import Rendered
from .store import Store

ARTIFACTS_MAX = 1_000  # per attempt, as of metrics: each is an event that is kept for ever
METRICS_MAX = 1_000

_ARTIFACT_NAME: TypeAdapter[str] = TypeAdapter(ArtifactName)
_METRIC_NAME: TypeAdapter[str] = TypeAdapter(MetricName)


class Recorder:
    """Of one attempt. `warn` is told once where a bound is reached; what comes after that is not recorded."""

    def __init__(self, store: Callable[[], Store], said: Callable[[Said], None], warn: Callable[[str], None]) -> None:
        self._store = store
        self._said = said
        self._warn = warn
        self._artifacts = itertools.count(1)  # counting with it is atomic
        self._metrics = itertools.count(1)
        self._models: set[str] = set()

    def of_step(
        self, store: Callable[[], Store], said: Callable[[Said], None], warn: Callable[[str], None]
    ) -> Recorder:
        """The same bounds, for one try of a step. What an earlier try has recorded, this one records anew."""
        view = copy.copy(self)
        view._store, view._said, view._warn, view._models = store, said, warn, set()
        return view

    def artifact(self, kind: str, name: str, rendered: Rendered) -> None:
        """Raises StoreAway, and TooLarge."""
        checked(_ARTIFACT_NAME, name, "up to 128 characters without slashes, not beginning with a dot")
        if not self._within(self._artifacts, ARTIFACTS_MAX, "artifacts", "Put many files into one."):
            return

        def kept(sha256: str, size: int) -> None:
            ref = FileRef(sha256=sha256, size=size, media_type=rendered.media_type, name=name)
            self._said(Said(ReportArtifact, {"kind": kind, "name": name, "file": file_payload(ref)}))

        self._store().keep(rendered.content, kept)

    def model(self, key: str, rendered: Rendered) -> None:
        """Its version is the attempt's, so there is one of each key."""
        if key in self._models:
            raise BadRequest(f"This attempt has recorded a model {key!r}: take another key.")
        self.artifact("model", key, rendered)
        self._models.add(key)

    def metric(self, name: str, value: Any) -> None:
        checked(_METRIC_NAME, name, "up to 128 characters, without line breaks")
        for part in parts_of(name, value):
            if self._within(self._metrics, METRICS_MAX, "metrics", "Record lists."):
                self._said(Said(ReportMetric, part))

    def _within(self, counted: itertools.count[int], most: int, what: str, advice: str) -> bool:
        count = next(counted)
        if count == most + 1:
            self._warn(f"This attempt has recorded {most:,} {what}; the next ones are not recorded. {advice}")
        return count <= most


def checked(adapter: TypeAdapter[str], name: str, rule: str) -> str:
    """Raises BadRequest."""
    try:
        return adapter.validate_python(name, strict=True)
    except ValidationError as error:
        raise BadRequest(f"{name!r:.200} cannot be a name here: give {rule}.") from error
