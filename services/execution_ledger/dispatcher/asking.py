"""Asking the ledgers: every Dispatch and Expire from the moment it is wanted until its trace is read.

A Dispatch whose fate is unknown keeps its place and is asked again for the same runner: the first may yet be decided,
and a place given away meanwhile would break a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from execution_ledger.messages.commands import Dispatch, ExpireAttempt, ExpireQueued
from execution_ledger.messages.events import (
    CommandFailed,
    CommandRejected,
    CommandRepeated,
    CommandUnreadable,
    Event,
)
from execution_ledger.messages.parts import ExpiryCause

from .asked import Ask, Asked, AskedCommand
from .board import Execution, Token
from .limits import Taken
from .picture import Picture

C = TypeVar("C", bound=AskedCommand)

Due = ExpiryCause | Literal["queue_ttl"]

_REST_MS = 5_000  # after a refusal: ledger and board disagree, so asking at once would only be refused again


class Refused(NamedTuple):
    """What a ledger would not do; another thing may still be due for the same token, and is asked for at once."""

    token: Token
    what: Due | Literal["dispatch"]


class Asking:
    """`fresh_id` makes command ids; `process` is the actor."""

    def __init__(self, picture: Picture, process: str, fresh_id: Callable[[], str]) -> None:
        self._picture = picture
        self._process = process
        self._fresh_id = fresh_id
        self._asked = Asked()
        self._again: dict[Token, Ask] = {}  # perhaps never arrived: asked again with the next tick
        self._resting: dict[Refused, int] = {}  # since when (ms)
        self.tally = Counter[Literal["dispatch", "expire", "again", "refused"]]()
        self.expiries = Counter[Due]()

    def undecided(self, shard: int) -> int:
        return self._asked.undecided(shard)

    def undecided_since_ms(self, shard: int) -> int | None:
        return self._asked.oldest_ms(shard)

    def asked_ms(self, token: Token) -> int | None:
        """Since when a ledger has been asked for this attempt; None where it is not."""
        ask = self._asked.get(token)
        return ask.since_ms if ask else None

    def rests(self, token: Token) -> bool:
        """Whether its ledger refused to dispatch it just now."""
        return Refused(token, "dispatch") in self._resting

    def dispatch(self, execution: Execution, runner: str, claim: int) -> Dispatch:
        """Takes the attempt's place until the ledger has answered."""
        token = Token(execution.id, execution.attempt + 1)
        self._picture.slots.take(token, Taken(runner, execution.pipeline, execution.alone))
        return self._ask(token, Dispatch(**self._stamp(token, claim), attempt=token.attempt, runner=runner))

    def expire_queued(self, token: Token, claim: int) -> ExpireQueued | None:
        """`token` would have been its next attempt. None as for `expire`."""
        if not self._picture.awaiting(token) or not self._may_expire(token, "queue_ttl"):
            return None
        return self._ask(token, ExpireQueued(**self._stamp(token, claim)))

    def expire(self, token: Token, cause: ExpiryCause, claim: int) -> ExpireAttempt | None:
        """None where there is nothing to ask for: it is over, asked for already, or was just refused."""
        if not self._picture.board.live(token) or not self._may_expire(token, cause):
            return None
        return self._ask(token, ExpireAttempt(**self._stamp(token, claim), attempt=token.attempt, cause=cause))

    def _may_expire(self, token: Token, cause: Due) -> bool:
        return token not in self._asked and Refused(token, cause) not in self._resting

    def _stamp(self, token: Token, claim: int) -> dict[str, Any]:
        """What each of our commands bears."""
        return {
            "command_id": self._fresh_id(),
            "actor": self._process,
            "claim": claim,
            "execution_id": token.execution_id,
        }

    def _ask(self, token: Token, command: C) -> C:
        self._asked.add(command, token, self._picture.now_ms)
        if (what := _what(command)) == "dispatch":
            self.tally["dispatch"] += 1
        else:
            self.tally["expire"] += 1
            self.expiries[what] += 1
        return command

    def sent(self, command_id: str, offset: int) -> None:
        if ask := self._asked.sent(command_id, offset):
            self._again[ask.token] = ask

    def unknown(self, command_id: str) -> None:
        if ask := self._asked.find(command_id):
            self._again[ask.token] = ask

    def settle(self, event: Event) -> None:
        """An ask is over with its trace; what its ledger has passed over without one may never have arrived."""
        if ask := self._asked.find(event.commandid) or self._failed(event):
            self.forget(ask.token)
            if isinstance(event.data, CommandRejected | CommandRepeated | CommandFailed | CommandUnreadable):
                self._refused(ask, event.recordedtime)
        for ask in self._asked.read_to(event.shard, event.cmdoffset):
            self._again[ask.token] = ask

    def forget(self, token: Token) -> None:
        self._asked.forget(token)
        self._again.pop(token, None)

    def tick(self, now_ms: int) -> list[Dispatch]:
        """What has to be asked again. An expiry is not among it: it is simply still due."""
        for refused in [refused for refused, since_ms in self._resting.items() if now_ms - since_ms >= _REST_MS]:
            del self._resting[refused]
            self._picture.requeue(refused.token)
        again, self._again = self._again, {}
        return [command for ask in again.values() if (command := self._renewed(ask))]

    def clear(self) -> None:
        """Forgets it all; what of it was accepted will be read like anything else."""
        for ask in self._asked.clear():
            self._give_place_back(ask)
            self._picture.requeue(ask.token)
        for refused in self._resting:
            self._picture.requeue(refused.token)
        self._again.clear()
        self._resting.clear()

    def _renewed(self, ask: Ask) -> Dispatch | None:
        if isinstance(ask.command, Dispatch) and self._picture.awaiting(ask.token):
            command = ask.command.model_copy(update={"command_id": self._fresh_id()})
            self._asked.add(command, ask.token, ask.since_ms)
            self.tally["again"] += 1
            return command
        self._asked.forget(ask.token)
        self._give_place_back(ask)
        return None

    def _failed(self, event: Event) -> Ask | None:
        """A command that could not be read leaves a trace that names nothing but its offset."""
        fact = event.data
        if isinstance(fact, CommandFailed | CommandUnreadable) and fact.lane == "commands":
            return self._asked.find_at(event.shard, fact.offset)
        return None

    def _refused(self, ask: Ask, time_ms: int) -> None:
        """Normal where an end came first. Where the board knows of none, it is left alone for a while."""
        self._give_place_back(ask)
        self.tally["refused"] += 1
        if self._picture.awaiting(ask.token) or self._picture.board.live(ask.token):
            self._resting[Refused(ask.token, _what(ask.command))] = time_ms

    def _give_place_back(self, ask: Ask) -> None:
        """Only a Dispatch takes a place in advance, and it is over as an ask when its attempt becomes real."""
        if isinstance(ask.command, Dispatch):
            self._picture.slots.free(ask.token)


def _what(command: AskedCommand) -> Due | Literal["dispatch"]:
    match command:
        case Dispatch():
            return "dispatch"
        case ExpireAttempt():
            return command.cause
        case ExpireQueued():
            return "queue_ttl"
