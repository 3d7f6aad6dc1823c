"""The post: what the desk orders leaves here, one outbox per lane, and the offsets go back to the desk."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic
from execution_ledger.messages import inbox
from execution_ledger.messages.commands import ClaimDispatch
from execution_ledger.messages.events import Event
from execution_ledger.messages.payload import Payload

from .asked import AskedCommand
from .board import Token
from .desk import Desk, Orders
from .fetching import Fetcher
from .outbox import Outbox
from .starts import QueuedEvents, start_message
from .told import Telling


class Post:
    def __init__(self, log: Log, desk: Desk, queued: QueuedEvents, shards: int, inbox_partitions: int) -> None:
        self._desk = desk
        self._queued = queued
        self._fetcher = Fetcher(log, desk, queued, self._start)
        asking, told = desk.asking, desk.told
        self._commands = [
            Outbox[str](log, Lane(Topic.COMMANDS, shard), asking.sent, asking.unknown) for shard in range(shards)
        ]
        self._inboxes = [
            Outbox[Telling](log, Lane(Topic.INBOX, partition), told.sent, told.unsent)
            for partition in range(inbox_partitions)
        ]

    @property
    def unknown(self) -> dict[str, int]:
        """By topic, how many records were sent without an answer."""
        return {
            Topic.COMMANDS.value: sum(box.unknowns for box in self._commands),
            Topic.INBOX.value: sum(box.unknowns for box in self._inboxes),
        }

    def loops(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What has to run for anything to be sent, with names."""
        boxes = [(box.name, box.run()) for box in self._commands] + [(box.name, box.run()) for box in self._inboxes]
        return [("fetch", self._fetcher.run()), *boxes]

    def send(self, orders: Orders) -> None:
        for shard, command in orders.commands:
            self._commands[shard].put(command.command_id, _command_record(command))
        for telling in orders.tellings:
            self._tell(telling)

    def drop_unsent(self) -> None:
        """What was ordered under a claim that is over must not leave this process any more."""
        for asks in self._commands:
            asks.clear()
        for messages in self._inboxes:
            messages.clear()

    def _tell(self, telling: Telling) -> None:
        runner, claim, first = telling.runner, self._desk.acting or 0, telling.tokens[0]
        match telling.kind:
            case "start":
                self._order(telling, first)
            case "confirmed":
                self._confirm(telling)
            case "abort":
                execution = self._desk.picture.board.live(first)
                reason = execution.abort_reason if execution else None
                self._put(telling, inbox.Abort(runner=runner, claim=claim, token=_inbox_token(first), reason=reason))
            case "claim":
                self._put(telling, inbox.Closed(runner=runner, claim=claim, tokens=[]))
            case "closed":
                tokens = [_inbox_token(token) for token in telling.tokens]
                self._put(telling, inbox.Closed(runner=runner, claim=claim, tokens=tokens))

    def _order(self, telling: Telling, token: Token) -> None:
        """At once where nothing has to be read for it."""
        execution = self._desk.picture.board.live(token)
        queued = self._queued.get(token.execution_id)
        if queued and (execution is None or execution.checkpoint is None):
            self._start(telling, queued)
        else:
            self._fetcher.want(telling)

    def _start(self, telling: Telling, queued: Event, checkpoint: Payload | None = None) -> None:
        """Sends nothing where the attempt has ended or is to be aborted since its start was ordered."""
        if execution := self._desk.to_start(telling.tokens[0]):
            fenced = self._desk.picture.fleet.fenced(execution.runner)
            self._put(telling, start_message(execution, queued, self._desk.acting or 0, fenced, checkpoint))
        else:
            self._desk.told.unsent(telling)

    def _confirm(self, telling: Telling) -> None:
        """Not where the attempt has ended meanwhile, or is to be aborted."""
        execution = self._desk.picture.board.live(telling.tokens[0])
        if execution is None or execution.aborting:
            self._desk.told.unsent(telling)
            return
        token, claim = _inbox_token(telling.tokens[0]), self._desk.acting or 0
        self._put(telling, inbox.Confirmed(runner=telling.runner, claim=claim, token=token))

    def _put(self, telling: Telling, message: inbox.AnyInboxMessage) -> None:
        """A runner that has gone meanwhile, or names an inbox that does not exist, cannot be told."""
        partition = self._desk.picture.fleet.inbox_of(telling.runner)
        if partition is None or partition not in range(len(self._inboxes)):
            self._desk.told.unsent(telling)
            return
        record = Outgoing(telling.runner.encode(), message.model_dump_json(exclude_none=True).encode())
        self._inboxes[partition].put(telling, record)


def _inbox_token(token: Token) -> inbox.Token:
    return inbox.Token(execution_id=token.execution_id, attempt=token.attempt)


def _command_record(command: AskedCommand | ClaimDispatch) -> Outgoing:
    headers = (("type", command.type.encode()), ("commandid", command.command_id.encode()))
    return Outgoing(command.subject.encode(), command.model_dump_json(exclude_none=True).encode(), headers)
