"""Waiting, listing and following with the client: what is asked, how often, and what comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import httpx
import pytest

from execution_ledger import ExecutionAborted, ExecutionFailed
from execution_ledger.errors import LedgerError, OutcomeUnknown, StillRunning, Unavailable
from execution_ledger.sdk.client import client as client_module
from execution_ledger.sdk.client import waiting
from execution_ledger.sdk.client.http import TRIES_MAX
from execution_ledger.sdk.client.multi_run import MultiRun
from execution_ledger.sdk.client.run import Run
from execution_ledger.sdk.records.records import Percentiles
from unit.client_stage import ID, NAME, Told, page, record

QUEUED = {"id": ID, "number": 4097, "name": NAME, "status": "queued", "position": "1.1", "command_id": "c"}
RECEIVED = {"id": None, "status": "received", "command_id": "c-1", "position": ""}
FAILURE = {"kind": "user", "message": "ValueError: no such pump", "traceback": "Traceback …\n  line 3, in train"}
ABORT = {"requested_by": "ada", "reason": "wrong pump", "requested_at": None, "outcome": "acknowledged"}


def test_waiting_returns_the_record_of_what_has_completed() -> None:
    told = Told(QUEUED, record("started"), record("completed", outputs={"rows": 72}))
    assert told.client.run("double").wait().outputs == {"rows": 72}
    assert [request.url.params.get("wait") for request in told.requests[1:]] == ["30.000", "30.000"]


def test_a_failure_is_raised_with_its_message_and_traceback() -> None:
    told = Told(record("failed", failure=FAILURE))
    with pytest.raises(ExecutionFailed) as failed:
        told.client.wait(NAME)
    assert all(text in str(failed.value) for text in (NAME, "no such pump", "line 3, in train", "exledger events"))
    assert failed.value.execution.failure
    assert failed.value.execution.failure.kind == "user"


def test_an_abort_is_raised_with_who_and_why() -> None:
    told = Told(record("aborted", abort=ABORT))
    with pytest.raises(ExecutionAborted, match=f"{NAME} was aborted by ada: wrong pump"):
        told.client.wait(NAME)


@pytest.mark.parametrize("end", [record("failed", failure=FAILURE), record("aborted", abort=ABORT)])
def test_an_end_can_be_looked_at_without_being_raised(end: dict[str, Any]) -> None:
    assert Told(end).client.wait(NAME, check=False).status == end["status"]


def test_a_wait_ends_at_its_timeout_which_is_a_timeout_error_and_no_failure() -> None:
    told = Told(record("started"), record("started"))
    with pytest.raises(StillRunning, match=f"exledger explain {NAME}"):
        told.client.wait(NAME, timeout=0)
    with pytest.raises(TimeoutError):
        told.client.wait(NAME, timeout=2)
    first, second = [float(request.url.params["wait"]) for request in told.requests]
    assert first == 0.0
    assert 1.5 < second <= 2.0


def test_a_ledger_that_is_away_for_a_while_is_waited_for() -> None:
    away = [httpx.ConnectError("refused")] * (TRIES_MAX + 1)
    assert Told(*away, record("completed")).client.wait(NAME).status == "completed"


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, text="<html>starting</html>")])
def test_a_proxy_that_answers_for_a_ledger_that_is_away_is_not_asked_without_a_pause(answer: httpx.Response) -> None:
    told = Told(answer, answer, record("completed"))
    assert told.client.wait(NAME).status == "completed"
    assert told.pauses == [waiting.ASK_AGAIN_S] * 2


def test_a_ledger_that_stays_away_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AWAY_S", 0.0)
    with pytest.raises(Unavailable):
        Told(*[httpx.ConnectError("refused")] * TRIES_MAX).client.wait(NAME)


def test_what_is_not_decided_is_asked_again_with_its_key() -> None:
    told = Told(RECEIVED, RECEIVED, QUEUED)
    assert told.client.run("double").name == NAME
    assert len({request.headers["Idempotency-Key"] for request in told.requests}) == 1
    assert told.pauses == [waiting.ASK_AGAIN_S] * 2


def test_what_stays_undecided_is_an_unknown_outcome_that_names_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "DECIDE_S", 0.0)
    with pytest.raises(OutcomeUnknown, match=r"command c-1.*key='mine'"):
        Told(RECEIVED).client.run("double", key="mine")


def test_a_batch_is_decided_when_all_of_it_is() -> None:
    half = {"id": "b", "executions": [QUEUED, {**QUEUED, "status": "received"}], "position": "1.1", "command_id": "c"}
    whole = {**half, "executions": [QUEUED, QUEUED]}
    assert len(Told(half, whole).client.multi_run("double", ["a", "b"]).runs) == 2


def test_a_list_goes_from_page_to_page_only_as_far_as_it_is_taken() -> None:
    told = Told(page(record("failed"), record("failed"), then="c1"), page(record("failed")))
    found = told.client.executions(pipeline="train", status=["failed", "aborted"], label="team=blue", page_size=2)
    assert told.requests == []
    assert [each.status for each in islice(found, 2)] == ["failed", "failed"]
    assert len(told.requests) == 1
    assert len(list(found)) == 1
    params = told.requests[1].url.params
    assert params.get_list("status") == ["failed", "aborted"]
    assert {name: params[name] for name in ("pipeline", "label", "limit", "cursor")} == {
        "pipeline": "train",
        "label": "team=blue",
        "limit": "2",
        "cursor": "c1",
    }


def test_times_in_a_filter_keep_their_zone() -> None:
    told = Told(page())
    assert list(told.client.executions(created_after=datetime(2026, 11, 22, tzinfo=UTC))) == []
    asked = {"created_after": "2026-11-22T00:00:00+00:00", "sort": "-created", "limit": "100"}
    assert dict(told.requests[0].url.params) == asked


def test_filters_are_asked_for_as_the_gateway_names_them() -> None:
    told = Told(page())
    assert list(told.client.executions(search="50%", warnings=False, attempts_min=2, sort="-took", page_size=7)) == []
    asked = {"q": "50%", "warnings": "false", "attempts_min": "2", "sort": "-took", "limit": "7"}
    assert dict(told.requests[0].url.params) == asked


def test_several_values_may_come_in_any_collection_and_labels_as_they_are_set() -> None:
    told = Told(page())
    assert list(told.client.executions(pipeline={"load"}, status=("failed",), label={"site": "north", "a": "b"})) == []  # type: ignore[arg-type]
    asked = [("pipeline", "load"), ("status", "failed"), ("label", "site=north"), ("label", "a=b")]
    assert told.requests[0].url.params.multi_items()[:4] == asked


def test_counts_have_types() -> None:
    times = {"p50": 1.5, "p95": 2.0, "p99": 2.0}
    groups = [{"value": None, "count": 3, "waiting_ms": times, "execution_ms": None}]
    told = Told({"by": "twin", "items": groups, "left_off": 0, "position": "1.1"})
    [group] = told.client.stats(by="twin", pipeline="load").items
    assert (group.value, group.count, group.execution_ms) == (None, 3, None)
    assert group.waiting_ms == Percentiles(**times)
    assert dict(told.requests[0].url.params) == {"by": "twin", "pipeline": "load", "limit": "500"}


# --- events -----------------------------------------------------------------------------------------------------


def event(kind: str, sequence: int) -> dict[str, Any]:
    return {
        "id": f"1-{sequence}",
        "type": f"executionledger.execution.{kind}.v1",
        "subject": ID,
        "time": "2026-11-22T08:00:00.000Z",
        "recordedtime": "2026-11-22T08:00:00.001Z",
        "shard": 1,
        "sequence": f"{sequence:020}",
        "data": {"attempt": 1},
    }


def stream(*kinds: str, first: int = 1) -> httpx.Response:
    frames = [f"id: 1.{n}\ndata: {json.dumps(event(kind, n))}\n\n" for n, kind in enumerate(kinds, first)]
    return httpx.Response(200, text="retry: 1000\nid: 1.0\n\n" + "".join(frames))


def test_events_tell_where_to_go_on_and_a_broken_stream_does_so_by_itself() -> None:
    told = Told(stream("queued", "dispatched"), stream("started", first=3))
    found = list(islice(told.client.events(after="1.0"), 3))
    assert [(each.sequence, each.position) for each in found] == [(1, "1.1"), (2, "1.2"), (3, "1.3")]
    assert told.requests[0].url.params["after"] == "1.0"
    assert told.requests[1].headers["Last-Event-ID"] == "1.2"


def test_the_events_of_a_run_end_with_it() -> None:
    told = Told(stream("queued", "dispatched", "started", "completed", "queued"))
    assert [each.sequence for each in Run(told.client, QUEUED).events()] == [1, 2, 3, 4]
    assert dict(told.requests[0].url.params) == {"after": "", "execution": ID}


def test_a_history_is_all_its_pages() -> None:
    told = Told(page(event("queued", 1), then="1"), page(event("completed", 2)))
    assert [each.type.split(".")[2] for each in Run(told.client, QUEUED).history()] == ["queued", "completed"]


# --- multi-runs -------------------------------------------------------------------------------------------------


def multi_run(told: Told) -> MultiRun:
    refusal = {"code": "id_too_old", "detail": "The id was made too long ago."}
    children = [
        {"id": "one", "status": "queued", "number": 1, "name": "double-1", "refusal": None},
        {"id": "two", "status": "queued", "number": 2, "name": "double-2", "refusal": None},
        {"id": "never", "status": "rejected", "number": None, "name": None, "refusal": refusal},
    ]
    return MultiRun(told.client, {"id": "b-1", "executions": children, "position": "1.9"})


def test_a_multi_run_waits_for_the_newest_that_runs_until_none_does() -> None:
    one, two = record("started", id="one"), record("started", id="two")
    failed, completed = record("failed", id="two"), record("completed", id="one")
    told = Told(page(two), failed, page(one), completed, page(), page(failed, completed))
    multi = multi_run(told)
    assert [each.status for each in multi.wait()] == ["completed", "failed"]  # in the order asked for
    assert [request.url.params.get("wait") for request in told.requests] == [None, "30.000", None, "30.000", None, None]
    assert told.requests[0].url.params["min_position"] == "1.9"


def test_a_multi_run_names_its_runs_and_those_that_never_came_to_be() -> None:
    multi = multi_run(Told())
    assert [run.name for run in multi.runs] == ["double-1", "double-2"]
    assert [child.refusal and child.refusal.code for child in multi.rejected] == ["id_too_old"]


def test_a_multi_run_tells_its_progress() -> None:
    one, two, failed = record("started", id="one"), record("started", id="two"), record("failed", id="two")
    ends = page(failed, record("completed", id="one"))
    seen: list[dict[str, int]] = []
    told = Told(page(two), failed, page(failed, one), page(), ends, ends)
    multi_run(told).wait(told=lambda progress: seen.append(dict(progress)))
    assert seen == [{"failed": 1, "started": 1}, {"failed": 1, "completed": 1}]


def test_a_multi_run_that_goes_on_is_no_failure() -> None:
    told = Told(page(record("started", id="two")), record("started", id="two"))
    with pytest.raises(StillRunning, match="Wait again, or abort the rest"):
        multi_run(told).wait(timeout=0)


def test_aborting_the_rest_passes_over_what_has_just_ended() -> None:
    live = page(record("started", id="two", name="double-2"), record("started", id="one", name="double-1"))
    opened = {"id": "job", "status": "open", "action": "abort", "count": 2, "targets_digest": "d"}
    done = opened | {
        "done": 1,
        "refused": 1,
        "waiting": 0,
        "status": "ended",
        "created_by": "ada",
        "reason": "enough",
        "opened_at": "2026-11-22T10:00:00Z",
        "ended_at": "2026-11-22T10:00:01Z",
        "arguments": {},
        "codes": {"already_ended": 1},
        "shards": [],
        "refusals": [{"id": "two", "code": "already_ended"}],
        "position": "1.1",
    }
    told = Told(live, opened, done)
    assert multi_run(told).abort("enough") == ["double-1"]
    asked = json.loads(told.requests[1].content)
    assert asked == {"action": "abort", "executions": ["two", "one"], "reason": "enough"}


def test_aborting_the_rest_does_not_pass_over_another_refusal() -> None:
    told = Told(page(record("started", id="two")), httpx.Response(401, json={"title": "A valid token is needed"}))
    with pytest.raises(LedgerError, match="does not accept the token"):
        multi_run(told).abort()
