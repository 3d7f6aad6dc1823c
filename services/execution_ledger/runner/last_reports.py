"""The last report of each token, kept to be sent again, within a budget.

Beyond the budget the oldest go: a report is in the outbox until the log has it, so sending it again only helps a
dispatcher that asks early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from execution_ledger.messages.inbox import Token
from execution_ledger.messages.reports import AnyReport, ReportCheckpoint, ReportCompleted, ReportFailed, ReportStep

KEPT_BYTES_MAX = 32_000_000
_FIXED_BYTES = 1_000  # about what a report takes beside its variable fields

T = TypeVar("T")


class LastReports:
    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._reports: dict[Token, AnyReport] = {}

    def keep(self, token: Token, report: AnyReport) -> None:
        self.forget(token)
        self._reports[token] = report
        self._bytes += _size(report)
        while self._bytes > self._bytes_max:
            self.forget(next(iter(self._reports)))

    def forget(self, token: Token) -> None:
        if report := self._reports.pop(token, None):
            self._bytes -= _size(report)

    def again(self, token: Token, send: Callable[[AnyReport], T]) -> list[T]:
        report = self._reports.get(token)
        return [send(report)] if report else []


def _size(report: AnyReport) -> int:
    match report:
        case ReportCompleted():
            return _FIXED_BYTES + report.outputs.size
        case ReportCheckpoint():
            return _FIXED_BYTES + report.value.size
        case ReportFailed():
            return _FIXED_BYTES + len(report.failure.message) + len(report.failure.traceback or "")
        case ReportStep(outputs=outputs) if outputs:
            return _FIXED_BYTES + outputs.size
        case _:
            return _FIXED_BYTES
