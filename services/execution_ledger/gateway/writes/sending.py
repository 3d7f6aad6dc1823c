"""Sending: a command into its shard's lane, and the ledger's decision back.

Three things can come of it: decided (with its trace), received (safe in its topic, the ledger has not answered in
time), or unknown (not even the log has answered), which is raised and names the command id to ask about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from execution_ledger.clock import World
from execution_ledger.errors import OutcomeUnknown
from execution_ledger.log.protocol import Lane, Log, Outgoing, Topic
from execution_ledger.messages.commands import AnyCommand
from execution_ledger.messages.ids import command_id_of_key, make_id, shard_of_key
from execution_ledger.messages.parts import Refusal
from execution_ledger.messages.position import position_text

from ..edge.problems import Away, Refused, away, refused
from ..stream.tail import Tail
from ..stream.traces import Trace, Waiter

UNDECIDED_MAX = 2_000  # commands that may lie before one shard's ledger when a Submit comes: some 200 ms of deciding
UNKNOWN = frozenset({"unknown-execution", "unknown-twin"})  # problems of their own, of refusals with the same name
CHUNK_COMMANDS_MAX = 500
CHUNK_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """`trace` is None when the command was received and is not yet decided; `subject` is then what it asked for."""

    command_id: str
    subject: str
    trace: Trace | None

    @property
    def repeated(self) -> bool:
        return self.trace is not None and self.trace.repeated

    @property
    def position(self) -> dict[int, int]:
        return {} if self.trace is None else self.trace.position


class Sender:
    def __init__(
        self, log: Log, world: World, tail: Tail, decide_wait_s: float, observe_s: Callable[[float], None]
    ) -> None:
        self._log = log
        self._world = world
        self._tail = tail
        self._decide_wait_s = decide_wait_s
        self._observe_s = observe_s
        self._turn = 0

    def address(self, actor: str, route: str, key: str | None) -> tuple[str, int]:
        """The command's id and shard: both from the caller's key, so that a repeat meets its first, or both fresh."""
        shards = self.shards()
        if key is not None:
            command_id = command_id_of_key(actor, route, key)
            return command_id, shard_of_key(command_id, shards)
        self._turn += 1
        return self.fresh_command_id(), 1 + self._turn % (shards - 1)

    def shards(self) -> int:
        if not self._tail.shards:
            raise away("starting", "This gateway has not reached the log yet. Try again in a moment.")
        return self._tail.shards

    def fresh_command_id(self) -> str:
        return f"{self._world.chance.getrandbits(128):032x}"

    def fresh_id(self, shard: int) -> str:
        return make_id(self._world.clock.now_ms(), shard, self._world.chance.getrandbits(62))

    def admit(self, shards: Iterable[int]) -> None:
        """What makes new executions asks here first; an abort never does. Raises Away."""
        for shard in shards:
            undecided = self._tail.traces.undecided(shard)
            if undecided >= UNDECIDED_MAX:
                raise away("too-busy", f"{undecided:,} commands wait for shard {shard}. Send this again in a second.")

    async def send(self, shard: int, command: AnyCommand) -> Answer:
        """Raises Refused or Away for every answer that is not "done as asked" or "received"."""
        [waiter] = self._expect(shard, [command])
        began = self._world.clock.monotonic_s()
        try:
            await self._deliver([waiter], [_outgoing(command)])
            await self.wait_decided([waiter])
            self._observe_s(self._world.clock.monotonic_s() - began)
            return accepted(_answer(waiter))
        finally:
            self._tail.traces.forget(waiter)

    async def send_in_order(self, shard: int, commands: Iterator[AnyCommand]) -> list[Waiter]:
        """Chunk after chunk, each acknowledged before the next: a lost one must not be overtaken.

        The caller forgets the waiters. Raises Away where an acknowledgement is missing.
        """
        waiters: list[Waiter] = []
        try:
            for chunk in _chunks(commands):
                expected = self._expect(shard, [command for command, _ in chunk])
                waiters += expected
                await self._deliver(expected, [outgoing for _, outgoing in chunk])
        except BaseException:
            self.forget(waiters)
            raise
        return waiters

    def forget(self, waiters: Sequence[Waiter]) -> None:
        for waiter in waiters:
            self._tail.traces.forget(waiter)

    async def wait_decided(self, waiters: Sequence[Waiter]) -> None:
        """Until all are decided, or the time for that is over."""
        try:
            async with asyncio.timeout(self._decide_wait_s):
                for waiter in waiters:
                    await waiter.decided()
        except TimeoutError:
            return

    def _expect(self, shard: int, commands: Sequence[AnyCommand]) -> list[Waiter]:
        return [self._tail.traces.expect(shard, command) for command in commands]

    async def _deliver(self, waiters: Sequence[Waiter], batch: Sequence[Outgoing]) -> None:
        try:
            offsets = await self._log.send(Lane(Topic.COMMANDS, waiters[0].shard), batch)
        except OutcomeUnknown as unknown:
            unsettled = [waiter for waiter in waiters if not waiter.settle_unacknowledged()]
            if unsettled:
                raise _unknown(unsettled[0]) from unknown
        else:
            for waiter, offset in zip(waiters, offsets, strict=True):
                self._tail.traces.acknowledged(waiter, offset)


def undecided_everywhere(tail: Tail) -> int | None:
    """How many commands wait for the shard with the fewest; None while one of them takes more."""
    fewest = min((tail.traces.undecided(shard) for shard in range(1, tail.shards)), default=0)
    return fewest if fewest >= UNDECIDED_MAX else None


def accepted(answer: Answer) -> Answer:
    """The answer itself where the ledger did as asked, or has not decided; else its refusal, raised."""
    trace = answer.trace
    if trace is None:
        return answer
    if trace.error is not None:
        raise refused("command-failed", f"The ledger could not decide this: {trace.error}", **_named(answer))
    if not trace.same_body:
        raise refused("key-reused", _KEY_REUSED, **_named(answer))
    if trace.outcome.refused:
        raise _refusal(trace.outcome.refused, answer)
    return answer


def _refusal(refusal: Refusal, answer: Answer) -> Refused:
    kind = refusal.code.replace("_", "-")
    return refused(
        kind if kind in UNKNOWN else "refused",
        refusal.detail,
        code=refusal.code,
        position=position_text(answer.position),
        **_named(answer),
    )


def _named(answer: Answer) -> dict[str, str]:
    return {"command_id": answer.command_id}


def _unknown(waiter: Waiter) -> Away:
    return away(
        "outcome-unknown",
        f"The log did not confirm command {waiter.command_id}: it may have been received or not. Ask "
        f"`GET /v1/commands/{waiter.command_id}`, or send the same again with the same Idempotency-Key.",
        command_id=waiter.command_id,
    )


def _answer(waiter: Waiter) -> Answer:
    trace = waiter.trace
    return Answer(waiter.command_id, trace.outcome.subject if trace else waiter.subject, trace)


def _outgoing(command: AnyCommand) -> Outgoing:
    headers = {"type": command.type, "commandid": command.command_id}
    if command.traceparent:
        headers["traceparent"] = command.traceparent
    return Outgoing(
        command.subject.encode(),
        command.model_dump_json(exclude_none=True).encode(),
        tuple((name, value.encode()) for name, value in headers.items()),
    )


def _chunks(commands: Iterator[AnyCommand]) -> Iterator[list[tuple[AnyCommand, Outgoing]]]:
    chunk: list[tuple[AnyCommand, Outgoing]] = []
    size = 0
    for command in commands:
        outgoing = _outgoing(command)
        if chunk and (len(chunk) == CHUNK_COMMANDS_MAX or size + len(outgoing.value) > CHUNK_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append((command, outgoing))
        size += len(outgoing.value)
    if chunk:
        yield chunk


_KEY_REUSED = (
    "This Idempotency-Key was used for a request with another body. Send the first body to get its answer, "
    "or take a new key for a new request."
)
