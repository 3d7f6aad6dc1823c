"""What a client was told, against the log: promise 5, seen from outside.

A client's record is a file of JSON lines, one per answer that it got; only `status_code` must be there:

    {"status_code": 201, "command_id": …, "key": …, "execution_id": …, "number": …, "name": …, "status": …,
     "position": …}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from execution_ledger.errors import BadRequest
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    CommandFailed,
    CommandRejected,
    CommandRepeated,
    Completed,
    Fact,
    Failed,
    Queued,
    Requeued,
    Started,
    SubmitJoined,
)
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import Status
from execution_ledger.messages.position import parse_position

from .findings import Breach
from .log.documents import Document

RECEIVED = 202
DECIDED = frozenset({200, 201})
REFUSED = frozenset({404, 409, 422})
KEY_REUSED = 422
SEEN_AS: dict[type[Fact], Status] = {
    Queued: Status.QUEUED,
    Requeued: Status.QUEUED,
    Started: Status.STARTED,
    AbortRequested: Status.ABORT_REQUESTED,
    Aborted: Status.ABORTED,
    Completed: Status.COMPLETED,
    Failed: Status.FAILED,
}


class Answer(BaseModel):
    """`key` is the Idempotency-Key that the client sent, `body` what it asked for, in whatever words: so a key that was
    used for two bodies can be told from a wrong refusal. Whatever else a line holds is the client's own.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    status_code: int
    command_id: str | None = None
    key: str | None = None
    body: str | None = None
    execution_id: str | None = None
    number: int | None = None
    name: str | None = None
    status: str | None = None
    position: str | None = None

    @property
    def ids(self) -> set[str]:
        return {one for one in (self.command_id, self.execution_id) if one}


class Evidence(NamedTuple):
    """What the log says of a command or an execution that an answer names."""

    shard: int
    sequence: int
    subject: str
    command_id: str | None
    fact: Fact


def evidence_of(document: Document) -> Evidence:
    return Evidence(
        document["shard"], document["sequence"], document["subject"], document.get("commandid"), document["data"]
    )


def read_answers(lines: Iterable[str]) -> list[Answer]:
    """Raises BadRequest that names the line."""
    answers = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answers.append(Answer.model_validate_json(line))
        except ValidationError as error:
            raise BadRequest(f"Line {number} of the answers is not one: {error.errors()[0]['msg']}.") from None
    return answers


def check_answers(
    answers: Iterable[Answer], evidence: Iterable[Evidence], undecided: Set[str], newest: Mapping[int, int]
) -> Iterator[Breach]:
    """`undecided` are the commands that lie in their lanes and that no ledger has read yet, `newest` the newest
    sequence of each shard.
    """
    told: dict[str, list[Evidence]] = defaultdict(list)
    for piece in evidence:
        for name in {piece.subject, piece.command_id or piece.subject}:
            told[name].append(piece)
    by_key: dict[str, str] = {}
    answers = list(answers)
    done = {(answer.command_id, answer.body) for answer in answers if answer.status_code in DECIDED}
    for answer in answers:
        if answer.status_code == KEY_REUSED and answer.body and (answer.command_id, answer.body) not in done:
            continue
        wrong = _wrong_position(answer, newest) or _wrong_with(answer, told, undecided)
        if what := wrong or _wrong_key(answer, by_key):
            yield _breach(answer, told, what)


def _breach(answer: Answer, told: dict[str, list[Evidence]], what: str) -> Breach:
    pieces = [piece for name in sorted(answer.ids) for piece in told.get(name, ())]
    shard = _shard_of(answer.execution_id) if answer.execution_id else pieces[0].shard if pieces else 0
    sequence = min((piece.sequence for piece in pieces), default=None)
    return Breach(5, shard, sequence, answer.execution_id, f"A client was answered {answer.status_code}: {what}.")


def _wrong_position(answer: Answer, newest: Mapping[int, int]) -> str | None:
    """What nobody can have been answered; where it lies behind the log's end, the log has lost what was there."""
    try:
        position = parse_position(answer.position or "")
    except BadRequest:
        return f"its position {answer.position!r} is none"
    for shard, sequence in position.items():
        if shard not in newest:
            return f"its position {answer.position} names shard {shard}, which does not exist"
        if sequence > newest[shard]:
            return f"its position {answer.position} lies behind the end of shard {shard}, {newest[shard]}"
    return None


def _wrong_key(answer: Answer, by_key: dict[str, str]) -> str | None:
    if answer.key is None or answer.execution_id is None or answer.status_code not in DECIDED:
        return None
    first = by_key.setdefault(answer.key, answer.execution_id)
    return None if first == answer.execution_id else f"its key {answer.key!r} had been answered with {first}"


def _wrong_with(answer: Answer, told: dict[str, list[Evidence]], undecided: Set[str]) -> str | None:
    traces = [piece for piece in told.get(answer.command_id or "", ()) if piece.command_id == answer.command_id]
    if answer.status_code in DECIDED:
        return _wrong_decision(answer, told, traces)
    if answer.status_code == RECEIVED and answer.command_id and not traces and answer.command_id not in undecided:
        return f"command {answer.command_id} is in no lane and left no trace"
    if answer.status_code in REFUSED and traces and not any(_refuses(piece.fact) for piece in traces):
        return f"the log did what command {answer.command_id} asked for"
    return None


def _refuses(fact: Fact) -> bool:
    if isinstance(fact, CommandRepeated):
        return fact.first.refused is not None or not fact.same_body
    return isinstance(fact, CommandRejected | CommandFailed)


def _wrong_decision(answer: Answer, told: dict[str, list[Evidence]], traces: list[Evidence]) -> str | None:
    if answer.command_id and not traces:
        return f"command {answer.command_id} left no trace"
    if traces and all(_refuses(piece.fact) for piece in traces):
        return f"the log refused what command {answer.command_id} asked for"
    if answer.execution_id is None:
        return None
    history = [piece for piece in told.get(answer.execution_id, ()) if piece.subject == answer.execution_id]
    queued = next((piece for piece in history if isinstance(piece.fact, Queued)), None)
    if queued is None:
        return "the log has no such execution"
    if traces and not any(answer.execution_id in _subjects(piece) for piece in traces):
        return f"command {answer.command_id} was about {traces[0].subject}"
    return _wrong_words(answer, history, queued)


def _wrong_words(answer: Answer, history: list[Evidence], queued: Evidence) -> str | None:
    fact = queued.fact
    assert isinstance(fact, Queued)
    if answer.number not in (None, fact.number) or answer.name not in (None, fact.name):
        return f"it was named {answer.name or answer.number}, and is {fact.name} ({fact.number})"
    held = {SEEN_AS[type(piece.fact)].value for piece in history if type(piece.fact) in SEEN_AS}
    if answer.status is not None and answer.status not in held:
        return f"it was called {answer.status}, which it never was"
    if answer.position and parse_position(answer.position).get(queued.shard, 0) < queued.sequence:
        return f"position {answer.position} does not include its own execution"
    return None


def _subjects(piece: Evidence) -> set[str]:
    first = {piece.fact.first.subject} if isinstance(piece.fact, CommandRepeated) else set()
    first |= {piece.fact.execution_id} if isinstance(piece.fact, SubmitJoined) else set()
    return {piece.subject} | first


def _shard_of(execution_id: str) -> int:
    try:
        return shard_of(execution_id)
    except ValueError:
        return 0
