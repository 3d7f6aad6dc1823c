"""Checkpoints on their way to reports: an attempt may say one after the other, and only the newest counts.

At most one a second is reported, later at most one in a thousandth of the time since the first: so a lost runner costs
no more than that share of an attempt's work, and a long attempt's events stay few. Where an attempt ends and another
may follow, what it said last is reported first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from execution_ledger.messages.inbox import Token
from execution_ledger.messages.reports import Said

EVERY_S = 1.0
SHARE = 1 / 1_000

Report = Callable[[Token, Said], None]


@dataclass(slots=True)
class _Course:
    began_s: float
    newest: Said | None = None  # not reported yet
    timer: asyncio.TimerHandle | None = None  # until it runs out, nothing is reported


class Checkpoints:
    """`full`: whether reports have no room now; then the newest waits."""

    def __init__(self, now_s: Callable[[], float], report: Report, full: Callable[[], bool]) -> None:
        self._now_s = now_s
        self._report = report
        self._full = full
        self._courses: dict[Token, _Course] = {}

    def say(self, token: Token, said: Said) -> None:
        """Of an attempt that has not ended."""
        course = self._courses.setdefault(token, _Course(self._now_s()))
        course.newest = said
        if course.timer is None:
            self._turn(token, course)

    def end(self, token: Token, *, is_last: bool) -> None:
        course = self._courses.pop(token, None)
        if course and course.timer:
            course.timer.cancel()
        if course and course.newest and not is_last:
            self._report(token, course.newest)

    def end_all(self) -> None:
        for token in list(self._courses):
            self.end(token, is_last=False)

    def _turn(self, token: Token, course: _Course) -> None:
        course.timer = None
        if course.newest is None:
            return
        if not self._full():
            said, course.newest = course.newest, None
            self._report(token, said)
        wait_s = max(EVERY_S, (self._now_s() - course.began_s) * SHARE)
        course.timer = asyncio.get_running_loop().call_later(wait_s, self._turn, token, course)
