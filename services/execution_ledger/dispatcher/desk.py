"""The desk: all decisions of this dispatcher, and no I/O. The shell feeds it what was read, then asks for a turn.

A turn comes to orders: commands for the ledgers and messages for the runners, whose offsets the shell gives back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from execution_ledger.messages.commands import ClaimDispatch, ExpireAttempt, ExpireQueued
from execution_ledger.messages.events import AbortRequested, Dispatched, DispatcherClaimed, Event, Started
from execution_ledger.messages.heartbeats import DispatcherTick, RunnerBeat
from execution_ledger.messages.ids import shard_of

from .asked import AskedCommand
from .asking import Asking, Due
from .board import Change, Execution, Phase, Token
from .claims import Claims
from .fleet import Room
from .folded import Folded, held_key
from .picture import Picture
from .queue import Group
from .repair import Heard, repairs
from .told import NO_TOKEN, Kind, Telling, Told

_CLOSED_MAX = 5_000  # tokens in one message, some 90 bytes each


@dataclass(frozen=True, slots=True)
class DeskSettings:
    process: str
    shards: int
    lease_ms: int
    absent_after_ms: int
    due_max: int  # deadlines looked at in a turn, and expiries a shard and turn
    address: str | None = None  # where it answers questions


@dataclass(frozen=True, slots=True)
class Orders:
    """Commands by shard, and what to tell runners; the messages' bytes are the shell's business."""

    commands: list[tuple[int, AskedCommand | ClaimDispatch]] = field(default_factory=list)
    tellings: list[Telling] = field(default_factory=list)


class Desk:
    """`fresh_id` makes command ids."""

    def __init__(self, settings: DeskSettings, fresh_id: Callable[[], str]) -> None:
        self.picture = Picture(settings.lease_ms)
        self.claims = Claims(settings.process, settings.shards, settings.absent_after_ms)
        self.asking = Asking(self.picture, settings.process, fresh_id)
        self.told = Told()
        self.acting: int | None = None  # the claim under which orders are given
        self.kept_back: Set[str] = frozenset()  # the runners that the last turn let run empty
        self._settings = settings
        self._fresh_id = fresh_id
        self._orders = Orders()
        self._due: defaultdict[int, dict[Token, Due]] = defaultdict(dict)  # by shard, in the order found
        self._claim_mark = 0

    # --- what was read ------------------------------------------------------------------------------------------

    def event(self, event: Event, offset: int) -> None:
        if isinstance(event.data, DispatcherClaimed):
            self.claims.claimed(event, event.data)
            self._follow_claims()
        change = self.picture.apply(event, offset)
        self.asking.settle(event)
        if change and self.acting is not None:
            self._react(event, change)

    def beat(self, beat: RunnerBeat, time_ms: int) -> None:
        heard = Heard.of(beat, time_ms)
        self.picture.beat(heard, self.told)
        if self.acting is not None:
            self._repair(heard)

    def tick(self, tick: DispatcherTick, time_ms: int) -> None:
        """A dispatcher's tick; our own are the only time that counts here."""
        if tick.process != self._settings.process:
            self.claims.other_tick(tick, time_ms)
            return
        self.claims.own_tick(time_ms)
        for runner in self.picture.tick(time_ms):
            self.told.forget(runner)
        if self.acting is not None:
            self._orders.commands.extend(
                (shard_of(command.execution_id), command) for command in self.asking.tick(time_ms)
            )
            self._find_lost()

    def folded(self) -> Folded:
        """What all events up to here came to, as copies."""
        held = {held_key(token): held for token, held in self.picture.slots.held()}
        return Folded(self.picture.board.executions(), held, self.picture.limits.newest(), self.claims.newest)

    def restore(self, folded: Folded) -> None:
        """Before anything else was read."""
        self.picture.restore(folded)
        self.claims.restore(folded.claim)

    # --- a turn -------------------------------------------------------------------------------------------------

    def turn(self) -> Orders:
        self._claim()
        if self.acting is not None:
            self._find_missed()
            self._expire(self.acting)
            self._dispatch(self.acting)
        orders, self._orders = self._orders, Orders()
        return orders

    @property
    def has_more(self) -> bool:
        """Whether the last turn left something undone, so that the next one should follow at once."""
        more_is_due = self.acting is not None and self.picture.deadlines.is_due(self.picture.now_ms)
        return more_is_due or any(self._due.values())

    def to_start(self, token: Token) -> Execution | None:
        """The execution of a start that was ordered, unless that has become pointless since."""
        execution = self.picture.board.live(token)
        if execution is None or execution.phase is not Phase.DISPATCHED or execution.aborting:
            return None
        return execution if self.told.was_sent(execution.runner, "start", token) else None

    def room(self) -> Room:
        return self.picture.fleet.room(self.picture.slots, self.picture.now_ms)

    def share_of(self, room: Room) -> int:
        """How many Dispatches of one shard may be undecided at once."""
        return max(1, room.total // max(1, self._settings.shards - 1))

    def _claim(self) -> None:
        process = self._settings.process
        for shard, claim in self.claims.wanted():
            command = ClaimDispatch(
                command_id=self._fresh_id(),
                actor=process,
                dispatcher=process,
                address=self._settings.address,
                claim=claim,
            )
            self._orders.commands.append((shard, command))

    def _expire(self, claim: int) -> None:
        for shard, due in self._due.items():
            asked = 0
            while due and asked < self._settings.due_max:
                token = next(iter(due))
                if command := self._expiry(token, due.pop(token), claim):
                    asked += 1
                    self._orders.commands.append((shard, command))

    def _expiry(self, token: Token, cause: Due, claim: int) -> ExpireAttempt | ExpireQueued | None:
        if cause == "queue_ttl":
            return self.asking.expire_queued(token, claim)
        return self.asking.expire(token, cause, claim)

    def _dispatch(self, claim: int) -> None:
        room = self.room()
        self.kept_back = room.kept_back
        if not room:
            return
        for execution_id, group in self.picture.queue.take_open(self._is_open(room)):
            execution, runner = self.picture.board.get(execution_id), room.best_for(group)
            assert execution, "what is queued is on the board"
            assert runner, "the group was open just now"
            room.take(runner, group)
            command = self.asking.dispatch(execution, runner, claim)
            self._orders.commands.append((group.shard, command))

    def _is_open(self, room: Room) -> Callable[[Group], bool]:
        """No shard may have more than its share of the slots undecided, so that one that is away cannot stop all."""
        share = self.share_of(room)
        limits, slots = self.picture.limits, self.picture.slots

        def is_open(group: Group) -> bool:
            if self.asking.undecided(group.shard) >= share:
                return False
            if not limits.allows(group.pipeline, slots.running(group.pipeline)):
                return False
            if room.best_for(group) is None and group.alone:
                room.keep_back(group)
            return room.best_for(group) is not None

        return is_open

    # --- telling runners ----------------------------------------------------------------------------------------

    def _react(self, event: Event, change: Change) -> None:
        execution = change.execution
        match event.data:
            case Dispatched(claim=claim):
                self.asking.forget(execution.token)
                if claim == self.acting:
                    self._tell(execution.runner, "start", [execution.token])
            case Started() if execution.at_most_once and not execution.aborting:
                self._tell(execution.runner, "confirmed", [execution.token])
            case AbortRequested() if execution.runner:
                self._tell(execution.runner, "abort", [execution.token])
            case _ if change.ended and not change.reported:
                self._tell(change.runner, "closed", [change.ended])

    def _repair(self, heard: Heard) -> None:
        runner, picture = heard.beat.process, self.picture
        live = picture.board.live_on(runner)
        if not self.told.was_sent(runner, "claim", NO_TOKEN):
            self._tell(runner, "claim", [NO_TOKEN])
        found = repairs(heard, live, self.told)
        for token in found.starts:
            self._tell(runner, "start", [token])
        for token in found.confirmed:
            if self.asking.asked_ms(token) is None:  # else it is being expired
                self._tell(runner, "confirmed", [token])
        for token in found.aborts:
            self._tell(runner, "abort", [token])
        for first in range(0, len(found.closed), _CLOSED_MAX):
            self._tell(runner, "closed", found.closed[first : first + _CLOSED_MAX])
        for token in found.lost:
            self._is_due(token, "lost")
        self.told.keep(runner, live.keys() | heard.listed.keys() | picture.slots.held_by(runner).keys())

    def _tell(self, runner: str, kind: Kind, tokens: Sequence[Token]) -> None:
        """A runner that is not heard of has no known inbox; its next heartbeat, if any, repairs that."""
        if runner in self.picture.fleet:
            telling = Telling(runner, kind, tokens)
            self.told.telling(telling)
            self._orders.tellings.append(telling)

    # --- deadlines and claims -----------------------------------------------------------------------------------

    def _find_lost(self) -> None:
        """A runner that was never heard of has a lease from the claim on."""
        picture = self.picture
        if picture.leases.lapsed(self._claim_mark):
            for runner in [runner for runner in picture.board.runners() if runner not in picture.fleet]:
                for token in picture.board.live_on(runner):
                    self._is_due(token, "lost")

    def _find_missed(self) -> None:
        for execution in self.picture.take_due(self._settings.due_max):
            if execution.runner:
                self._is_due(execution.token, "abort_grace" if execution.aborting else "timeout")
            else:
                self._is_due(Token(execution.id, execution.attempt + 1), "queue_ttl")

    def _is_due(self, token: Token, cause: Due) -> None:
        """What is due for two reasons is asked for the first one that was found."""
        self._due[shard_of(token.execution_id)].setdefault(token, cause)

    def _follow_claims(self) -> None:
        if self.claims.acting == self.acting:
            return
        if self.acting is not None:
            self._stand_down()
        self.acting = self.claims.acting
        self._claim_mark = self.picture.leases.mark

    def _stand_down(self) -> None:
        self._orders = Orders()
        self.asking.clear()
        self.told.clear()
        self._due.clear()
