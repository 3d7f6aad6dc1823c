"""One shard's executions: versions, chains, the table, attempts. Promises 3, 6 and 11, and what makes a name.

An execution that has ended costs its id and nothing more, so a long log fits into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Set
from typing import Any

from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Completed,
    Dispatched,
    Fact,
    Failed,
    Queued,
    Recorded,
    Requeued,
    Started,
    StepChanged,
    SubmitJoined,
)
from execution_ledger.messages.ids import CATALOG_SHARD, SHARDS_MAX, name_of, number_of, number_of_name, shard_of
from execution_ledger.messages.parts import Policy

from .business import Business
from .deadlines import Deadlines
from .documents import Document, time_ms
from .life import (
    ABORTING,
    AFTERWARDS,
    ENDED,
    ENTERED,
    HELD,
    NEXT,
    ON_A_RUNNER,
    OUT_OF_SIGHT,
    OUTCOMES,
    QUEUED,
    RECORDED,
    STARTED,
    UNKNOWN,
    WITHDRAWN,
)
from .limits import Move
from .steps import StepLives

Say = Callable[[int, str], None]  # promise, sentence


class Life:
    __slots__ = (
        "attempt",
        "deadlines",
        "entered",
        "name",
        "ordinal",
        "pipeline",
        "policy",
        "previous",
        "runner",
        "state",
        "steps",
        "version",
    )

    def __init__(self, queued: Queued | None = None) -> None:
        self.state = UNKNOWN
        self.version = 0
        self.previous: str | None = None
        self.attempt = 0  # the newest one
        self.runner = ""  # where it was sent
        self.ordinal = 0  # of the newest report from it
        self.entered = 0  # attempts in which the code had begun
        self.name = queued.name if queued else ""
        self.pipeline = queued.pipeline.name if queued else ""
        self.policy = queued.policy if queued else Policy()
        self.steps = StepLives(queued)
        self.deadlines = Deadlines(self.policy)


class Executions:
    """`say` names a breach of the event that is being fed. `forgiven`: events that are known to be missing.

    `moves` are kept of the pipelines in `limited`.
    """

    def __init__(self, shard: int, limited: Set[str], say: Say) -> None:
        self.shard = shard
        self.queued = 0
        self.claim = 0
        self.dispatcher = ""  # whose claim it is
        self.forgiven = 0
        self.moves: list[Move] = []
        self._limited = limited
        self._say = say
        self.business = Business()
        self._live: dict[str, Life] = {}
        self._ended: set[str] = set()
        self._ordinal = 0  # of the newest number, as counted here
        self._ordinal_seen = 0  # as written there
        self._unnumbered = 0  # events that are missing since then

    def feed(self, document: Document, raw: bytes) -> None:
        subject, fact = document["subject"], document["data"]
        if subject in self._ended:
            return self._say(3, f"{_word(fact)} comes after its end")
        life = self._live.get(subject)
        if life is None:
            life = self._live[subject] = self._begin(document, fact)
        if not self._continues(life, document):
            return None
        self._step(life, document, fact)
        life.version, life.previous = document.get("version", 0), hashlib.sha256(raw).hexdigest()
        if life.state == ENDED:
            del self._live[subject]
            self._ended.add(subject)
            self.business.ended(subject)
        return None

    def miss(self, events: int) -> None:
        """So many are missing, and this has been named."""
        self.forgiven += events
        self._unnumbered += events

    def labelled(self, subject: str) -> None:
        """Labels may change at any time from the first event on."""
        if not (subject in self._live or subject in self._ended or self.forgiven):
            self._say(3, f"it is about {subject}, which was never queued on this shard")

    def joined(self, fact: SubmitJoined) -> None:
        """Whoever asked was answered with the execution that has the business id."""
        life = self._live.get(fact.execution_id)
        if life is None or not self.business.is_first(fact.execution_id, fact.business_id):
            if not self.forgiven:
                self._say(5, f"{fact.execution_id} is not the one that has the business id {fact.business_id!r}")
        elif (fact.number, fact.name) != (number_of_name(life.name), life.name):
            self._say(5, f"{fact.execution_id} is {life.name}, and is told as {fact.name} ({fact.number})")

    def live(self) -> dict[str, str]:
        """Those without an end, with the state of each."""
        return {subject: life.state for subject, life in self._live.items()}

    def _begin(self, document: Document, fact: Fact) -> Life:
        if isinstance(fact, Queued):
            self.queued += 1
            self._check_identity(document["subject"], fact)
            if wrong := self.business.queued(document["subject"], fact, document["sequence"]):
                self._say(6, wrong)
            return Life(fact)
        return Life()

    def _continues(self, life: Life, document: Document) -> bool:
        """False for an event that lies behind the execution's newest one: it is named, and changes nothing."""
        version = document.get("version", 0)
        jump = version - life.version - 1
        if jump == 0:
            if document.get("previous") != life.previous:
                self._say(11, f"its digest of version {life.version} is not that event's: one of both was changed")
        elif 0 < jump <= self.forgiven:
            self.forgiven -= jump
            life.state = OUT_OF_SIGHT
        else:
            self._say(3, f"version {version} follows version {life.version}")
            if life.state != UNKNOWN:
                return jump > 0
            life.state = OUT_OF_SIGHT
        return True

    def _step(self, life: Life, document: Document, fact: Fact) -> None:
        before, kind = life.state, type(fact)
        after = NEXT.get((before, kind))
        if before == OUT_OF_SIGHT:
            self._adopt(life, fact)
            after = AFTERWARDS[kind]
        elif after is None:
            self._explain(before, fact)
            after = AFTERWARDS.get(kind, before)
        else:
            if kind is Dispatched and (wrong := self.business.dispatched(document["subject"])) and not self.forgiven:
                self._say(6, wrong)
            once = life.state == STARTED and life.policy.delivery == "at_most_once"
            now_ms = time_ms(document["recordedtime"])
            for wrong in life.deadlines.follow(fact, now_ms, before in (ABORTING, ENTERED), once):
                self._say(3, wrong)
            if check := _CHECKS.get(kind):
                check(self, life, fact)
            self._check_actor(life, document, fact)
        if (before in ON_A_RUNNER) != (after in ON_A_RUNNER) and life.pipeline in self._limited:
            self._move(life, document, after in ON_A_RUNNER)
        life.state = after

    def _explain(self, before: str, fact: Fact) -> None:
        if isinstance(fact, Dispatched) and before in ON_A_RUNNER:
            return self._say(6, f"attempt {fact.attempt} is dispatched while another one is live ({before})")
        if isinstance(fact, Dispatched) and before == HELD:
            return self._say(6, f"attempt {fact.attempt} is dispatched while it is held")
        return self._say(3, f"{_word(fact)} cannot follow while it is {before}")

    def _adopt(self, life: Life, fact: Fact) -> None:
        life.attempt = getattr(fact, "attempt", None) or life.attempt
        life.runner = getattr(fact, "runner", life.runner)
        life.ordinal = getattr(fact, "ordinal", 0)
        life.deadlines.lose_sight(fact)
        life.steps.lose_sight()

    def _move(self, life: Life, document: Document, begins: bool) -> None:
        at = time_ms(document["recordedtime"])
        self.moves.append(Move(at, begins, life.pipeline, self.shard, document["sequence"], document["subject"]))

    # --- what each fact must say --------------------------------------------------------------------------------

    def _check_identity(self, subject: str, fact: Queued) -> None:
        wanted = number_of(self._ordinal + 1, self.shard)
        self._ordinal += 1
        ordinal, shard = divmod(fact.number, SHARDS_MAX)
        dense = ordinal == self._ordinal or 0 < ordinal - self._ordinal_seen <= 1 + self._unnumbered
        if not _lives_on(subject, self.shard):
            self._say(3, f"its id belongs to another shard than {self.shard}")
        elif shard != self.shard or not dense:
            self._say(3, f"it bears number {fact.number} where {wanted} must come")
        elif fact.name != name_of(fact.pipeline.name, fact.number):
            self._say(3, f"its name {fact.name!r} is not that of number {fact.number}")
        self._ordinal_seen, self._unnumbered = ordinal if shard == self.shard else self._ordinal, 0

    def _queued(self, life: Life, fact: Queued) -> None:
        if fact.link and fact.link.to not in self._ended and not self.forgiven:
            self._say(3, f"it is a {fact.link.how} of {fact.link.to}, which had not ended on this shard before it")

    def _dispatched(self, life: Life, fact: Dispatched) -> None:
        if fact.attempt != life.attempt + 1:
            self._say(6, f"attempt {fact.attempt} follows attempt {life.attempt}")
        if fact.claim != self.claim and not (self.forgiven and fact.claim > self.claim):
            self._say(6, f"it is dispatched under claim {fact.claim}, while {self.claim} is the shard's newest")
        life.attempt, life.ordinal, life.runner = fact.attempt, 0, fact.runner
        life.steps.begin()

    def _started(self, life: Life, fact: Started) -> None:
        self._check_report(life, fact)
        if fact.runner != life.runner:
            self._say(6, f"{fact.runner} has started attempt {fact.attempt}, which was sent to {life.runner}")
            life.runner = ""  # who of the two reports the rest is no second breach
        life.entered += 1
        if life.entered > 1 and life.policy.delivery == "at_most_once":
            self._say(6, f"its code begins a {life.entered}. time, although it may run at most once")

    def _check_actor(self, life: Life, document: Document, fact: Fact) -> None:
        actor = document.get("actor")
        if isinstance(fact, Dispatched):
            if actor != self.dispatcher and fact.claim == self.claim and self.dispatcher:
                self._say(6, f"{actor} asked for it, and claim {self.claim} is {self.dispatcher}'s")
        elif actor != life.runner and life.runner and is_reported(document):
            self._say(6, f"{actor} reports it, and attempt {life.attempt} was sent to {life.runner}")

    def _check_report(self, life: Life, fact: Started | Recorded) -> None:
        self._check_attempt(life, fact)
        if fact.ordinal <= life.ordinal:
            self._say(6, f"report {fact.ordinal} of attempt {fact.attempt} was taken after report {life.ordinal}")
        life.ordinal = fact.ordinal

    def _step_changed(self, life: Life, fact: StepChanged) -> None:
        self._check_report(life, fact)
        for wrong in life.steps.follow(fact):
            self._say(3, wrong)

    def _requeued(self, life: Life, fact: Requeued) -> None:
        self._check_attempt(life, fact)
        if life.state == STARTED and life.policy.delivery == "at_most_once":
            self._say(6, "it is queued again after its start, although it may run at most once")
            life.entered = 0  # what follows from this is no second breach

    def _abort_requested(self, life: Life, fact: AbortRequested) -> None:
        if fact.attempt != (life.attempt if life.state in ON_A_RUNNER else None):
            self._say(6, f"an abort is asked of attempt {fact.attempt} while it is {life.state}")

    def _aborted(self, life: Life, fact: Aborted) -> None:
        self._check_attempt(life, fact)
        outcomes = OUTCOMES[life.state]
        if life.entered and life.state in (QUEUED, HELD, WITHDRAWN):
            outcomes = frozenset({"not_running"})  # its code has begun in an attempt before
        if fact.outcome not in outcomes:
            self._say(3, f"it is aborted as {fact.outcome!r} while it is {life.state}")

    def _completed(self, life: Life, fact: Completed) -> None:
        self._check_attempt(life, fact)
        self._check_abort(life, fact)

    def _failed(self, life: Life, fact: Failed) -> None:
        self._check_attempt(life, fact)
        if fact.failure.kind != "internal":  # which is the ledger's own, and says nothing of an abort
            self._check_abort(life, fact)

    def _check_abort(self, life: Life, fact: Completed | Failed) -> None:
        if (fact.abort == "too_late") != (life.state in (ABORTING, ENTERED)):
            self._say(3, f"it says {fact.abort!r} of an abort while it is {life.state}")

    def _check_attempt(self, life: Life, fact: Any) -> None:
        """What ends an execution in the queue may name no attempt; on a runner it must be the live one."""
        missing = fact.attempt is None and life.state not in ON_A_RUNNER
        if fact.attempt != life.attempt and not missing:
            self._say(6, f"{_word(fact)} is about attempt {fact.attempt}, while attempt {life.attempt} is the newest")


_CHECKS: dict[type[Fact], Callable[[Executions, Life, Any], None]] = {
    Queued: Executions._queued,
    Dispatched: Executions._dispatched,
    Started: Executions._started,
    **dict.fromkeys(RECORDED, Executions._check_report),
    StepChanged: Executions._step_changed,
    Requeued: Executions._requeued,
    AbortRequested: Executions._abort_requested,
    Aborted: Executions._aborted,
    Completed: Executions._completed,
    Failed: Executions._failed,
}


_REPORTED = frozenset({Started, *RECORDED, Requeued, Aborted, Completed, Failed})


def is_reported(document: Document) -> bool:
    """By a runner: beside what was asked for, and what the ledger ends by itself because deciding raised."""
    fact = document["data"]
    if "commandid" in document or type(fact) not in _REPORTED:
        return False
    return not (isinstance(fact, Failed) and fact.failure.kind == "internal")


def _lives_on(subject: str, shard: int) -> bool:
    try:
        return shard_of(subject) == shard != CATALOG_SHARD
    except ValueError:
        return False


def _word(fact: Fact) -> str:
    return fact.TYPE.removesuffix(".v1").removeprefix("execution.")
