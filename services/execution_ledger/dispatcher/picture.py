"""The picture: all that events and heartbeats say, folded. An active dispatcher and a standby see the same one.

What an active dispatcher has asked for but not yet read back shows here only as places taken in advance.
"""

from __future__ import annotations

from itertools import islice

from execution_ledger.messages.events import Dispatched, Event, PipelineRegistered, Queued
from execution_ledger.messages.heartbeats import HeldToken

from .board import Board, Change, Execution, Phase, Token
from .deadlines import Deadlines
from .fleet import Fleet
from .folded import Folded, token_of
from .leases import Leases
from .limits import Limits, Slots, Taken
from .queue import Queue
from .repair import Heard
from .told import Told

AGAIN_MS = 2_000  # what is due and has not ended by then is named again: what was asked may never have arrived


class Picture:
    def __init__(self, lease_ms: int) -> None:
        self.board = Board()
        self.queue = Queue()
        self.deadlines = Deadlines()
        self.limits = Limits()
        self.slots = Slots()
        self.fleet = Fleet(quiet_ms=lease_ms // 3)
        self.leases = Leases(lease_ms)
        self.lease_ms = lease_ms

    @property
    def now_ms(self) -> int:
        """The log's time, as the newest tick gave it back."""
        return self.leases.newest_ms or 0

    def apply(self, event: Event, offset: int) -> Change | None:
        match event.data:
            case Queued(pipeline=pipeline):
                self.limits.learn(pipeline.name, pipeline.version, pipeline.limit)
            case PipelineRegistered() as fact if fact.definition.inline is not None:
                self.limits.learn(fact.pipeline, fact.version, fact.definition.value().get("limit"))
        if change := self.board.apply(event, offset):
            self._follow(change, event)
        return change

    def restore(self, folded: Folded) -> None:
        """On an empty picture; the events behind the snapshot come next."""
        self.limits.restore(folded.limits)
        for execution in folded.executions.values():
            self.board.restore(execution)
            if execution.runner:
                self._take(execution)
        for execution in folded.executions.values():  # once all are there: some wait for others
            self._line_up(execution)
        for key, held in folded.held.items():
            self.slots.take(token_of(key), Taken(held.runner, held.pipeline, held.alone))
            self.slots.hold(token_of(key), held.ended_ms)

    def beat(self, heard: Heard, told: Told) -> None:
        if heard.beat.process not in self.fleet:
            self._hold_unknown(heard)
        self.fleet.beat(heard.beat, heard.time_ms, self.leases.mark)
        for token in self.slots.held_by(heard.beat.process).keys() - heard.listed.keys():
            if told.knew_of(heard.beat.process, token, heard.beat.inbox_offset):
                self.slots.free(token)

    def tick(self, time_ms: int) -> list[str]:
        """Names the runners that are gone: their lease is over, and what they held is free."""
        self.leases.tick(time_ms)
        gone = self.fleet.drop_lapsed(self.leases)
        for runner in self.slots.holders():
            self._free_held(runner, time_ms)
        self.fleet.keep_lapsed(self.board.runners())
        return gone

    def take_due(self, count_max: int) -> list[Execution]:
        """Of so many that are due, those that missed a deadline. A backoff that is over is none: it joins the queue."""
        missed = []
        for execution_id in islice(self.deadlines.take_due(self.now_ms), count_max):
            execution = self.board.get(execution_id)
            assert execution, "what has a deadline is on the board"
            if execution.deadline is None or self.now_ms < execution.deadline:
                self._line_up(execution)
            else:
                self.queue.drop(execution_id)
                self.deadlines.set(execution_id, self.now_ms + AGAIN_MS)
                missed.append(execution)
        return missed

    def is_backing_off(self, execution: Execution) -> bool:
        return execution.dispatchable and execution.not_before is not None and self.now_ms < execution.not_before

    def requeue(self, token: Token) -> None:
        """Back into the queue with the execution whose next attempt this would have been."""
        if execution := self.awaiting(token):
            self.queue.add(execution)

    def awaiting(self, token: Token) -> Execution | None:
        """The execution whose next attempt this would be, while it can be dispatched."""
        execution = self.board.get(token.execution_id)
        can_be = execution and execution.dispatchable and execution.attempt + 1 == token.attempt
        return execution if can_be else None

    def _follow(self, change: Change, event: Event) -> None:
        execution = change.execution
        if change.ended and (change.reported or self.fleet.has_lapsed(change.runner)):
            self.slots.free(change.ended)
        elif change.ended:
            self.slots.hold(change.ended, event.recordedtime)
        if isinstance(event.data, Dispatched):
            self._take(execution)
        self._line_up(execution)
        if execution.phase is Phase.ENDED and (following := self.board.first_of(execution.business)):
            self._line_up(following)

    def _take(self, execution: Execution) -> None:
        self.slots.take(execution.token, Taken(execution.runner, execution.pipeline, execution.alone))

    def _line_up(self, execution: Execution) -> None:
        if execution.dispatchable and not (self.is_backing_off(execution) or self.board.ahead(execution)):
            self.queue.add(execution)
        else:
            self.queue.drop(execution.id)
        if execution.phase is Phase.ENDED:
            self.deadlines.set(execution.id, None)
        else:
            backing_off = self.is_backing_off(execution)
            self.deadlines.set(execution.id, execution.not_before if backing_off else execution.deadline)

    def _hold_unknown(self, heard: Heard) -> None:
        """A runner that is heard for the first time, or again, may still run what was ended without it."""
        for held in heard.beat.tokens:
            token = Token(held.execution_id, held.attempt)
            if _runs(held) and token not in self.slots:
                self.slots.take(token, Taken(heard.beat.process, pipeline=""))
                self.slots.hold(token, heard.time_ms)

    def _free_held(self, runner: str, now_ms: int) -> None:
        """Of a runner that was never heard of, what is a lease old is free too: by then it has stopped by itself."""
        if runner in self.fleet:
            return
        for token, ended_ms in self.slots.held_by(runner).items():
            if self.fleet.has_lapsed(runner) or now_ms - ended_ms >= self.lease_ms:
                self.slots.free(token)


def _runs(held: HeldToken) -> bool:
    return held.phase != "ended"
