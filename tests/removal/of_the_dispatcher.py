"""Defences of the dispatcher, taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from unittest.mock import patch

from execution_ledger.dispatcher import leases, starts
from execution_ledger.dispatcher.asking import Asking
from execution_ledger.dispatcher.board import Execution, Token
from execution_ledger.dispatcher.claims import Claims
from execution_ledger.dispatcher.desk import Desk, Orders
from execution_ledger.dispatcher.fetching import Fetcher
from execution_ledger.dispatcher.folded import Folded
from execution_ledger.dispatcher.keeping import Keeping
from execution_ledger.dispatcher.limits import Slots
from execution_ledger.dispatcher.picture import Picture
from execution_ledger.dispatcher.post import Post
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.dispatcher.starts import start_message
from execution_ledger.dispatcher.told import Kind, Telling, Told
from execution_ledger.errors import Stalled
from execution_ledger.log.protocol import Lane, Record
from execution_ledger.messages.commands import Dispatch
from execution_ledger.messages.events import Event
from execution_ledger.messages.heartbeats import DispatcherTick
from removal.instead import instead

NEVER_MS = 10**9
WAIT_S = 5.0


@contextmanager
def claim_on_every_shard() -> Iterator[None]:
    """It acts as soon as its claim is numbered."""
    with instead(Claims, "acting", lambda self: self.own):
        yield


@contextmanager
def unknown_keeps_its_place() -> Iterator[None]:
    """What got no answer counts as never sent: its place is free, and it waits in the queue again."""

    def unknown(self: Asking, command_id: str) -> None:
        if ask := self._asked.find(command_id):
            self.forget(ask.token)
            self._give_place_back(ask)
            self._picture.requeue(ask.token)

    with instead(Asking, "unknown", unknown):
        yield


@contextmanager
def missed_named_again() -> Iterator[None]:
    """A deadline that was missed is named once."""
    real = Picture.take_due

    def take_due(self: Picture, count_max: int) -> list[Execution]:
        missed = real(self, count_max)
        for execution in missed:
            self.deadlines.set(execution.id, None)
        return missed

    with instead(Picture, "take_due", take_due):
        yield


@contextmanager
def no_event_missed() -> Iterator[None]:
    """It goes on from whatever comes."""

    def sequence(self: Keeping, shard: int) -> int:
        return following[shard]

    real, following = Keeping.follow, dict[int, int]()

    def follow(self: Keeping, event: Event, record: Record) -> None:
        following[event.shard] = event.sequence - 1
        real(self, event, record)

    with instead(Keeping, "_sequence", sequence), instead(Keeping, "follow", follow):
        yield


@contextmanager
def fetched_as_asked_for() -> Iterator[None]:
    """What comes first is taken for the event that was asked for."""

    async def read(self: Fetcher, lane: Lane, offset: int) -> Sequence[Record]:
        async with self._log.reader({lane: offset}) as reader:
            chunk = (await reader.read(WAIT_S)).get(lane)
        if chunk is None or not chunk.records:
            raise Stalled("as before")
        return chunk.records

    with instead(Fetcher, "_read", read):
        yield


@contextmanager
def held_places_kept() -> Iterator[None]:
    """A dispatcher that starts from a snapshot knows of no places that are held."""
    real = Picture.restore

    def restore(self: Picture, folded: Folded) -> None:
        real(self, replace(folded, held={}))

    with instead(Picture, "restore", restore):
        yield


@contextmanager
def gap_starts_anew() -> Iterator[None]:
    with patch.object(leases, "_GAP_MS", NEVER_MS):
        yield


@contextmanager
def expiry_after_own_tick() -> Iterator[None]:
    """Leases are counted by its own clock, whatever of the heartbeats it has read."""
    send_tick, hear = DispatcherService._send_tick, Desk.tick

    async def tick(self: DispatcherService, *, leaving: bool = False) -> int:
        own = DispatcherTick(process=self.process, claim=self._desk.claims.own, leaving=leaving)
        hear(self._desk, own, self._world.clock.now_ms())
        return await send_tick(self, leaving=leaving)

    def only_others(self: Desk, tick: DispatcherTick, time_ms: int) -> None:
        if tick.process != self._settings.process:
            hear(self, tick, time_ms)

    with ExitStack() as stack:
        stack.enter_context(instead(DispatcherService, "_send_tick", tick))
        stack.enter_context(instead(Desk, "tick", only_others))
        yield


@contextmanager
def slot_held_while_listed() -> Iterator[None]:
    def free_at_once(self: Slots, token: Token, ended_ms: int) -> None:
        self.free(token)

    with instead(Slots, "hold", free_at_once):
        yield


@contextmanager
def start_after_dispatched() -> Iterator[None]:
    """A start leaves together with its Dispatch."""
    real = Post.send

    def send(self: Post, orders: Orders) -> None:
        real(self, orders)
        for _, command in orders.commands:
            if isinstance(command, Dispatch):
                _start_early(self, command)

    with instead(Post, "send", send), patch.object(starts, "_OBJECT_BYTES", 0):  # so that some are at hand
        yield


def _start_early(post: Post, command: Dispatch) -> None:
    execution = copy(post._desk.picture.board.get(command.execution_id))
    queued = post._queued.get(command.execution_id)
    if execution and queued:
        execution.runner, execution.attempt = command.runner, command.attempt
        telling = Telling(command.runner, "start", [execution.token])
        post._put(
            telling, start_message(execution, queued, command.claim, post._desk.picture.fleet.fenced(command.runner))
        )


@contextmanager
def known_before_lost() -> Iterator[None]:
    """What a heartbeat does not list is over, whether or not its runner has read the start or the claim."""

    def knew_of(self: Told, runner: str, token: Token, inbox_offset: int) -> bool:
        return True

    with instead(Told, "knew_of", knew_of):
        yield


@contextmanager
def not_sent_again_while_under_way() -> Iterator[None]:
    """Every heartbeat that lacks something has it sent again, however far its runner has read."""

    def may_tell(self: Told, runner: str, kind: Kind, token: Token, inbox_offset: int) -> bool:
        return True

    with instead(Told, "may_tell", may_tell):
        yield
