"""Admission: whether new executions are taken in now, asked before a body is read, so that refusing costs little.

What does not make new executions never comes here: reports, aborts, registrations and reads are not shed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from execution_ledger.settings import GatewaySettings

from .problems import Problem, away

SUBMITS = (
    "/v1/executions",
    "/v1/batches",
    "/v1/executions/{reference}/retry",
    "/v1/executions/{reference}/rerun",
    "/v1/batches/{batch_id}/retry",
)
_PATTERNS = [(route, re.compile(re.sub(r"\{\w+\}", "[^/]+", route))) for route in SUBMITS]
BODIES_BYTES_MAX = 200_000_000  # held at once; by batches a third of it at most
SMALL_BYTES = 16_000
SOON_S = 1  # in which some hundreds of commands are decided
LATER_S = 5  # for what a machine or a person has to mend


def submit_route(method: str, path: str) -> str | None:
    """The route of a request that makes new executions; None for all others."""
    if method != "POST":
        return None
    return next((route for route, pattern in _PATTERNS if pattern.fullmatch(path)), None)


class Admission:
    """`views_behind_s` and `full_disk` are brought up to date by whoever looks at views and disks.

    `undecided_everywhere` tells how many commands wait for the shard that has the fewest, None below the bound.
    """

    def __init__(self, settings: GatewaySettings, undecided_everywhere: Callable[[], int | None]) -> None:
        self._at_once_max = settings.submits_at_once_max
        self._behind_s_max = settings.views_behind_s_max
        self._undecided_everywhere = undecided_everywhere
        self.views_behind_s = 0.0
        self.full_disk: str | None = None
        self.at_once = 0  # requests that were let in, have come whole, and are not answered
        self._body_bytes = 0

    @contextmanager
    def holding(self, body_bytes: int) -> Iterator[None]:
        """Room in memory for a body. Raises Away when too much is held; the small body of an abort always fits."""
        held = self._body_bytes + body_bytes
        if body_bytes > SMALL_BYTES and held > BODIES_BYTES_MAX:
            raise away("too-busy", "Other large bodies are being taken in. Send this again in a second.", SOON_S)
        self._body_bytes = held
        try:
            yield
        finally:
            self._body_bytes -= body_bytes

    def refusal(self) -> Problem | None:
        """Why nothing new is taken in; what passes slowest comes first."""
        if self.full_disk:
            return Problem("disk-full", f"{self.full_disk} Aborts and reads go on.", retry_after_s=LATER_S)
        if self.views_behind_s > self._behind_s_max:
            late = f"The views are {self.views_behind_s:.0f} s behind the events, more than {self._behind_s_max:.0f} s."
            return Problem("views-too-far-behind", f"{late} Send this again when they catch up.", retry_after_s=LATER_S)
        if self.at_once >= self._at_once_max:
            busy = f"{self.at_once:,} requests for executions are under way here. Send this again in a second."
            return Problem("too-busy", busy, retry_after_s=SOON_S)
        undecided = self._undecided_everywhere()
        if undecided is not None:
            busy = f"{undecided:,} commands or more wait for each shard. Send this again in a second."
            return Problem("too-busy", busy, retry_after_s=SOON_S)
        return None
