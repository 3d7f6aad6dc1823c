"""A small legal history of two shards, decided by the ledger itself, and the means to damage one thing in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from execution_ledger.log.protocol import Record, Topic
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import ClaimDispatch, RegisterPipeline, RegisterTwin
from execution_ledger.messages.events import Event, digest_of, event_id
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import ReportCompleted, ReportReleased, ReportStarted
from execution_ledger.verify.findings import Breach, Findings
from execution_ledger.verify.log.history import Stored, check_log
from unit.spec import CLAIM, NOW_MS, RUNNER, submit
from unit.test_deciding import Ledger, abort, dispatch, new_id

Document = dict[str, Any]
ONE, TWO, THREE = new_id(1), new_id(2), new_id(3)
OUTPUTS = json_payload({"n": 2})
LAST = 19  # the newest sequence of shard 1
LAST_COMMAND = 11
OWN = ("commandid", "version", "previous")  # which no other event has


def said(execution_id: str, attempt: int = 1) -> dict[str, Any]:
    return {"execution_id": execution_id, "attempt": attempt, "runner": RUNNER, "time": NOW_MS}


class Keeper(Ledger):
    """Keeps its lanes, too."""

    def __init__(self, shard: int = 1) -> None:
        self.commands: list[bytes] = []
        self.reports: list[bytes] = []
        super().__init__(shard)

    def _record(self, message: Message | bytes | None) -> Record:
        record = super()._record(message)
        lane = self.commands if record.lane.topic is Topic.COMMANDS else self.reports
        lane.append(record.value or b"")
        return record

    def report(self, value: bytes) -> list[Event]:
        self.reports.append(value)
        return super().report(value)


def catalog(limit: int | None = None) -> Keeper:
    """Shard 0: the claims up to the one that the others have seen, one pipeline and one twin."""
    ledger = Keeper(shard=0)
    for number in range(CLAIM):
        ledger.do(ClaimDispatch(command_id=f"claim-{number}", actor="d-1", dispatcher="d-1"))
    definition = json_payload({"name": "train", "limit": limit, "code": "c"})
    ledger.do(RegisterPipeline(command_id="register", actor="r", pipeline="train", digest="d1", definition=definition))
    twin = json_payload({"name": "Pump 7"})
    ledger.do(RegisterTwin(command_id="twin", actor="r", key="pump-7", digest="t1", definition=twin))
    return ledger


def lives() -> Keeper:
    """Shard 1: 4-7 an execution that completes, 8-10 one that is aborted in the queue, 11 rubbish, 12 a repeat,
    13-18 one that is given back, dispatched again and asked to abort, 19 a refusal."""
    ledger = Keeper()
    ledger.do(submit(ONE), dispatch(ONE), ReportStarted(**said(ONE), ordinal=1))
    ledger.do(ReportCompleted(**said(ONE), ordinal=2, outputs=OUTPUTS))
    ledger.do(submit(TWO, "submit-2"), abort(TWO, "abort-2"), b"rubbish", submit(ONE))
    ledger.do(submit(THREE, "submit-3"), dispatch(THREE, "dispatch-3"), ReportStarted(**said(THREE), ordinal=1))
    ledger.do(ReportReleased(**said(THREE), ordinal=2))
    ledger.do(dispatch(THREE, "again-3").model_copy(update={"attempt": 2}), abort(THREE, "abort-3"))
    ledger.do(abort(new_id(9), "abort-9"))
    return ledger


class History:
    """Shard 1 as documents that can be changed; `shard_0` beside it, as it is."""

    def __init__(self) -> None:
        self.shard_0 = catalog().raw
        self.documents: list[Document] = [json.loads(raw) for raw in lives().raw]

    def __getitem__(self, sequence: int) -> Document:
        return self.documents[sequence - 1]

    def change(self, sequence: int, **fields: Any) -> None:
        self[sequence].update(fields)

    def change_data(self, sequence: int, **fields: Any) -> None:
        self[sequence]["data"].update(fields)

    def append(self, subject: str, kind: str, data: Document, **envelope: Any) -> None:
        """One more event that fits in every way but in what it says."""
        version = sum(it["subject"] == subject and "version" in it for it in self.documents) + 1
        fitting = {name: value for name, value in self.documents[-1].items() if name not in OWN}
        fitting |= {"subject": subject, "type": f"executionledger.{kind}", "data": data}
        fitting |= {} if "commandid" in envelope else {"actor": RUNNER}
        fitting |= {"dataschema": f"urn:execution-ledger:{kind}"} | envelope
        if kind.startswith("execution."):
            fitting |= {"version": version, "previous": ""}
        self.documents.append(fitting)
        self.number()

    def number(self) -> None:
        """Sequences as they should be."""
        for sequence, document in enumerate(self.documents, 1):
            document |= {"sequence": f"{sequence:020d}", "id": event_id(1, sequence)}

    def chain(self) -> None:
        """Digests as they should be."""
        newest: dict[str, str] = {}
        for document in self.documents:
            if document.get("version", 1) == 1:
                document.pop("previous", None)
            elif "version" in document:
                document["previous"] = newest.get(document["subject"], "0" * 64)
            if "version" in document:
                newest[document["subject"]] = digest_of(written(document))

    def raw(self) -> list[bytes]:
        return [written(document) for document in self.documents]


def written(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def stored(raw: list[bytes]) -> list[Stored]:
    """With a marker behind each event, as after a commit of its own."""
    return [(value, 2 * index) for index, value in enumerate(raw)]


def check(shard_1: list[bytes], shard_0: list[bytes] | None = None) -> Findings:
    others = catalog().raw if shard_0 is None else shard_0
    return check_log({0: stored(others), 1: stored(shard_1), 2: [], 3: []})


def damaged(damage: Callable[[History], object], *, chained: bool = True) -> list[Breach]:
    history = History()
    damage(history)
    if chained:
        history.chain()
    return check(history.raw(), history.shard_0).breaches.kept


def named(breaches: list[Breach]) -> list[tuple[int, int, int | None, str | None]]:
    return [breach[:4] for breach in breaches]


assert shard_of(ONE) == 1
