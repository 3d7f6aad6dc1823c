"""A legal history with nearly all that may happen, and the means to change one field of one event in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from execution_ledger.messages.commands import (
    ChangeLabels,
    Hold,
    OpenBatch,
    OpenJob,
    RegisterTemplate,
    Unhold,
)
from execution_ledger.messages.ids import (
    business_key,
    child_id,
    command_id_of_child,
    command_id_of_job,
    shard_of_business,
)
from execution_ledger.messages.parts import Link, Origin
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    ReportAborted,
    ReportArtifact,
    ReportCheckpoint,
    ReportCompleted,
    ReportFailed,
    ReportStarted,
    ReportStep,
)
from execution_ledger.messages.steps import Reused
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.log.history import check_log
from unit.spec import NOW_MS, PIPELINE, failure, stored_file, submit
from unit.test_deciding import abort, dispatch, new_id
from unit.verify_stage import OUTPUTS, Document, History, Keeper, catalog, said, stored, written

FAILS, RERUN, JOINED = new_id(1), new_id(2), new_id(3)
BATCH, JOB = new_id(50), new_id(60)
CHILDREN = {index: child_id(BATCH, 1, index) for index in (0, 3, 6)}  # those of shard 1
STEPS: dict[str, list[str]] = {"load": [], "fit": ["load"]}
BUSINESS = next(name for name in map(str, range(50)) if shard_of_business(business_key("train", name), 4) == 1)


def rich_catalog() -> Keeper:
    ledger = catalog()
    definition = json_payload({"name": "P", "properties": {}})
    ledger.do(RegisterTemplate(command_id="template", actor="r", key="pump", digest="x", definition=definition))
    return ledger


def rich_lives() -> Keeper:
    ledger = Keeper()
    _fails(ledger)
    _is_rerun(ledger)
    _batch_and_job(ledger)
    ledger.do(submit(JOINED, "joined", business_id=BUSINESS, if_live="first"))
    ledger.do(submit(new_id(4), "joins", business_id=BUSINESS, if_live="first"), submit(JOINED, "joined"), b"rubbish")
    ledger.report(b"rubbish")
    ledger.do(dispatch(JOINED, "dispatch-j"), ReportFailed(**said(JOINED), ordinal=1, failure=failure()))
    return ledger


def _fails(ledger: Keeper) -> None:
    properties = json_payload({"kw": 1})
    ledger.do(submit(FAILS, steps=STEPS, properties=properties), dispatch(FAILS))
    ledger.do(ReportStarted(**said(FAILS), ordinal=1))
    ledger.do(ReportStep(**said(FAILS), ordinal=2, step="load", status="started", tries=1))
    ledger.do(ReportArtifact(**said(FAILS), ordinal=3, kind="plot", name="p", file=stored_file(), step="load"))
    ledger.do(ReportCheckpoint(**said(FAILS), ordinal=4, value=json_payload([1])))
    ledger.do(ReportStep(**said(FAILS), ordinal=5, step="load", status="completed", tries=1, outputs=OUTPUTS))
    ledger.do(ReportFailed(**said(FAILS), ordinal=6, failure=failure()))


def _is_rerun(ledger: Keeper) -> None:
    reused = {"load": Reused(execution=FAILS, outputs=OUTPUTS)}
    ledger.do(submit(RERUN, "rerun", link=Link(how="rerun", to=FAILS), steps=STEPS, reused=reused))
    asking: dict[str, Any] = {"actor": "ada", "execution_id": RERUN}
    ledger.do(Hold(command_id="hold", **asking), Unhold(command_id="unhold", **asking))
    ledger.do(ChangeLabels(command_id="label", **asking, labels={"k": "v"}))
    ledger.do(dispatch(RERUN, "dispatch-r"), abort(RERUN, "abort-r"))
    ledger.do(ReportAborted(**said(RERUN), ordinal=1, entered=True))


def _batch_and_job(ledger: Keeper) -> None:
    versions = {"train": PIPELINE}
    ledger.do(OpenBatch(command_id="open", actor="ada", batch_id=BATCH, count=9, opened=NOW_MS, versions=versions))
    for index, child in CHILDREN.items():
        origin = Origin(source=f"batch/{BATCH}", ordinal=index)
        ledger.do(submit(child, command_id_of_child(BATCH, index), origin=origin))
    ledger.do(dispatch(CHILDREN[0], "dispatch-c"), ReportCompleted(**said(CHILDREN[0]), ordinal=1, outputs=OUTPUTS))
    targets = [CHILDREN[3], CHILDREN[6]]
    payload, arguments = json_payload(targets), json_payload({"x": 1})
    asked: dict[str, Any] = {"targets": payload, "arguments": arguments}
    ledger.do(OpenJob(command_id="open-job", actor="ada", job_id=JOB, action="abort", count=2, **asked))
    for target in targets:
        command = abort(target, command_id_of_job(JOB, target))
        ledger.do(command.model_copy(update={"causation_id": f"job/{JOB}"}))


class RichHistory(History):
    """Shard 1 is `documents`, shard 0 `catalog`."""

    def __init__(self) -> None:
        self.catalog: list[Document] = [json.loads(raw) for raw in rich_catalog().raw]
        self.documents = [json.loads(raw) for raw in rich_lives().raw]

    def find(self, kind: str, subject: str | None = None) -> Document:
        """The first event of this kind, of this subject."""
        return next(self._found(kind, subject))

    def _found(self, kind: str, subject: str | None) -> Iterator[Document]:
        for document in [*self.documents, *self.catalog]:
            if document["type"].startswith(f"executionledger.{kind}.") and subject in (None, document["subject"]):
                yield document

    def next_command(self) -> str:
        """The offset of one more."""
        return str(max(int(document["cmdoffset"]) for document in self.documents) + 1)

    def breaches(self) -> list[Breach]:
        self.chain()
        events = {0: stored([written(it) for it in self.catalog]), 1: stored(self.raw()), 2: [], 3: []}
        return check_log(events).breaches.kept


def rewritten(kind: str, rewrite: Callable[[Document], object], subject: str | None = None) -> tuple[int, list[Breach]]:
    """The sequence of the event that was rewritten, and what was named."""
    history = RichHistory()
    document = history.find(kind, subject)
    sequence = int(document["sequence"])
    rewrite(document)
    return sequence, history.breaches()
