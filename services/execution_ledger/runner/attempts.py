"""What a runner holds: its tokens, each waiting, running or ended, as a state machine without I/O.

Inbox messages and the runner's own happenings go in; out come actions for the shell. A token is remembered, and
listed in heartbeats, until the ledger has closed it and its code has really stopped: that is what makes every inbox
message safe to repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from execution_ledger.messages.heartbeats import HeldToken, TokenPhase
from execution_ledger.messages.inbox import Abort, AnyInboxMessage, Closed, Confirmed, Start, Token
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
    Said,
)
from execution_ledger.messages.steps import CodeOrigin

from .last_reports import LastReports
from .outcomes import Completed, Failed, Outcome

FENCED_MAX = 1_000
CLOSED_MAX = 10_000  # tokens: of a send without an answer a copy may come, moments after all is over


@dataclass(frozen=True, slots=True)
class Enter:
    """Begin the code."""

    start: Start


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell the code to stop; sent once for each cause, so that a repeated abort does not disturb its cleaning up."""

    token: Token
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    report: AnyReport


Action = Enter | Stop | Send


@dataclass(slots=True)
class _Held:
    """`phase` as in heartbeats; None: fenced and stopped, remembered but no longer listed."""

    phase: TokenPhase | None
    traceparent: str | None = None
    ordinal: int = 0
    aborting: bool = False
    draining: bool = False  # told to stop because the runner ends
    given_up: Literal["closed", "fenced"] | None = None  # its outcome interests nobody


class Attempts:
    """A start beyond `held_max` is dropped: the dispatcher misses it in the next heartbeat and sends it again.

    `origins` are those of pipelines of one function, by their digests.
    """

    def __init__(
        self, runner: str, slots: int, held_max: int, origins: Mapping[str, CodeOrigin | None] | None = None
    ) -> None:
        self._runner = runner
        self._slots = slots
        self._held_max = held_max
        self._origins = origins or {}
        self._claim = 0
        self._held: dict[Token, _Held] = {}
        self._waiting: dict[Token, Start] = {}  # for a slot
        self._unconfirmed: dict[Token, Start] = {}  # in a slot, and not to be entered before they are confirmed
        self._running: dict[Token, _Held] = {}
        self._fenced: dict[Token, None] = {}
        self._closed: dict[Token, None] = {}
        self._last = LastReports()
        self._is_fenced = False
        self._is_draining = False
        self.reported = Counter[type[AnyReport]]()  # how many of each kind were made

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def tokens(self) -> list[HeldToken]:
        return [
            HeldToken(execution_id=token.execution_id, attempt=token.attempt, phase=held.phase)
            for token, held in self._held.items()
            if held.phase is not None
        ]

    # --- what the dispatcher says ---------------------------------------------------------------------------------

    def receive(self, message: AnyInboxMessage, now_ms: int) -> list[Action]:
        if message.claim < self._claim:
            return []
        self._claim = message.claim
        match message:
            case Start():
                return self._start(message, now_ms)
            case Confirmed():
                return self._confirm(message.token)
            case Abort():
                return self._abort(message, now_ms)
            case Closed():
                self._remember_closed(message.tokens)
                stops = [action for token in message.tokens for action in self._close(token)]
                return [*stops, *self._fill_slots(now_ms)]

    def _start(self, start: Start, now_ms: int) -> list[Action]:
        if start.token in self._held:
            return self._last.again(start.token, Send)
        if start.token in self._closed or self._is_fenced or len(self._held) >= self._held_max:
            return []
        self._held[start.token] = _Held("waiting", start.traceparent)
        if self._is_draining:
            return [self._end(start.token, ReportReleased, now_ms)]
        self._waiting[start.token] = start
        return self._fill_slots(now_ms)

    def _confirm(self, token: Token) -> list[Action]:
        """One that is not waiting for this was entered already, or has ended."""
        start = self._unconfirmed.pop(token, None)
        return [self._enter(start)] if start else []

    def _abort(self, abort: Abort, now_ms: int) -> list[Action]:
        """One that was never seen is remembered as ended, so that a start which comes later is dropped."""
        held = self._held.setdefault(abort.token, _Held("waiting"))
        match held.phase:
            case "waiting":
                ended = self._end(abort.token, ReportAborted, now_ms, entered=False)
                return [ended, *self._fill_slots(now_ms)]
            case "running" if held.aborting or held.given_up:
                return []
            case "running":
                held.aborting = True
                return [Stop(abort.token, abort.reason)]
            case "ended":
                return self._last.again(abort.token, Send)
            case None:
                return [self._end(abort.token, ReportAborted, now_ms, entered=True)]

    def _close(self, token: Token) -> list[Action]:
        if running := self._running.get(token):
            stop = running.given_up is None
            running.given_up = "closed"
            return [Stop(token)] if stop else []
        self._forget(token)
        return []

    def _remember_closed(self, tokens: Sequence[Token]) -> None:
        """What is closed is over for good: a start that comes after it is a copy of one that came before."""
        self._closed |= dict.fromkeys(tokens)
        for token in list(islice(self._closed, max(0, len(self._closed) - CLOSED_MAX))):
            del self._closed[token]

    # --- what the code does ---------------------------------------------------------------------------------------

    def stopped(self, token: Token, outcome: Outcome, now_ms: int) -> list[Action]:
        running = self._running.pop(token, None)
        if running is None:
            return []
        ended = self._report_outcome(token, running, outcome, now_ms)
        return [*ended, *self._fill_slots(now_ms)]

    def recorded(self, token: Token, said: Said, now_ms: int) -> list[Action]:
        running = self._running.get(token)
        if running is None or running.given_up:
            return []
        return [Send(self._report(token, said.kind, now_ms, **said.fields))]

    def _report_outcome(self, token: Token, running: _Held, outcome: Outcome, now_ms: int) -> list[Action]:
        if running.given_up == "closed":
            self._forget(token)
            return []
        if running.given_up == "fenced":
            self._unlist(token, running)
            return []
        match outcome:
            case Completed(outputs):
                return [self._end(token, ReportCompleted, now_ms, outputs=outputs)]
            case _ if running.draining and not running.aborting:
                return [self._end(token, ReportReleased, now_ms)]
            case Failed(failure):
                return [self._end(token, ReportFailed, now_ms, failure=failure)]
            case _ if outcome.by_itself or running.aborting:
                return [self._end(token, ReportAborted, now_ms, entered=True, reason=outcome.reason)]
            case _:
                return [self._end(token, ReportReleased, now_ms)]

    # --- what the runner itself goes through ----------------------------------------------------------------------

    def fence(self) -> list[Action]:
        """Others may hold it for dead and run its attempts again: it stops them, and reports nothing of them, so that
        they count as lost (code that starves its runner's heartbeats must not be tried for ever)."""
        self._is_fenced = True
        for token in [*self._waiting, *self._unconfirmed]:
            self._forget(token)
        stops = [Stop(token) for token, running in self._running.items() if running.given_up is None]
        for stop in stops:
            self._running[stop.token].given_up = "fenced"
        return [*stops]

    def unfence(self) -> None:
        self._is_fenced = False

    def drain(self, now_ms: int) -> list[Action]:
        """From now on every start is given back at once."""
        self._is_draining = True
        return [self._end(token, ReportReleased, now_ms) for token in [*self._waiting, *self._unconfirmed]]

    def stop_running(self) -> list[Action]:
        """What ends otherwise than well after this has not had its time: it is given back."""
        for running in self._running.values():
            running.draining = True
        return [Stop(token) for token in self._running]

    def release_running(self, now_ms: int) -> list[Action]:
        """Gives back what does not stop; the end of the process ends its code."""
        given_back = [token for token, running in self._running.items() if running.given_up is None]
        self._running.clear()
        return [self._end(token, ReportReleased, now_ms) for token in given_back]

    # --- mechanics ------------------------------------------------------------------------------------------------

    def _fill_slots(self, now_ms: int) -> list[Action]:
        actions: list[Action] = []
        while self._waiting and len(self._running) + len(self._unconfirmed) < self._slots:
            token = next(iter(self._waiting))
            start = self._waiting.pop(token)
            origin = self._origins.get(start.pipeline.digest)
            actions.append(Send(self._report(token, ReportStarted, now_ms, origin=origin)))
            if start.delivery == "at_most_once":
                self._unconfirmed[token] = start
            else:
                actions.append(self._enter(start))
        return actions

    def _enter(self, start: Start) -> Enter:
        self._running[start.token] = held = self._held[start.token]
        held.phase = "running"
        return Enter(start)

    def _end(self, token: Token, kind: type[AnyReport], now_ms: int, **fields: Any) -> Send:
        self._waiting.pop(token, None)
        self._unconfirmed.pop(token, None)
        self._fenced.pop(token, None)
        self._held[token].phase = "ended"
        return Send(self._report(token, kind, now_ms, **fields))

    def _report(self, token: Token, kind: type[AnyReport], now_ms: int, /, **fields: Any) -> AnyReport:
        held = self._held[token]
        held.ordinal += 1
        report = kind(
            execution_id=token.execution_id,
            attempt=token.attempt,
            ordinal=held.ordinal,
            runner=self._runner,
            time=now_ms,
            traceparent=held.traceparent,
            **fields,
        )
        self._last.keep(token, report)
        self.reported[kind] += 1
        return report

    def _unlist(self, token: Token, held: _Held) -> None:
        held.phase = None
        self._fenced[token] = None
        if len(self._fenced) > FENCED_MAX:
            self._forget(next(iter(self._fenced)))

    def _forget(self, token: Token) -> None:
        self._held.pop(token, None)
        self._waiting.pop(token, None)
        self._unconfirmed.pop(token, None)
        self._fenced.pop(token, None)
        self._last.forget(token)
