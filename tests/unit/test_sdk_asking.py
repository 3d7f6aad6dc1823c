"""What programs ask with: what is left out, what cannot be, and what of it can be handed to another process."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from execution_ledger import BadRequest, Client, ExecutionFailed, File
from execution_ledger.errors import BadSettings
from execution_ledger.messages.files import FileRef
from execution_ledger.sdk.client.http import Refused
from execution_ledger.sdk.client.multi_run import MultiRun
from execution_ledger.sdk.records.records import Execution
from unit.client_stage import ID, NAME, Told, record

RUN = {"id": ID, "name": NAME}
LEFT_OUT = ("inputs", "twin", "mode", "experiment", "options", "policy", "properties", "labels", "priority", "if_live")


def test_none_is_what_is_left_out() -> None:
    told = Told(RUN, RUN)
    said: Any = dict.fromkeys(LEFT_OUT)
    told.client.run("load", business_id="b", **said)
    told.client.rerun(NAME, newest=True, **said)
    bodies = [json.loads(request.content) for request in told.requests]
    assert bodies == [{"pipeline": "load", "business_id": "b"}, {"newest": True}]


ANYTHING: Any = object()
CALLS: dict[str, Callable[[Any], Any]] = {
    "inputs that are a list": lambda client: client.run("load", inputs=[1]),
    "inputs that are a text": lambda client: client.run("load", inputs="days=7"),
    "a policy that is a text": lambda client: client.run("load", policy="10m"),
    "changes of which inputs are a list": lambda client: client.rerun(NAME, inputs=[1]),
    "a batch that is one request": lambda client: client.batch({"pipeline": "load"}),
    "a batch of names": lambda client: client.batch(["load"]),
    "twins that are one": lambda client: client.multi_run("load", "pump-7"),
    "a job on one": lambda client: client.job("abort", NAME),
    "statuses that are one": lambda client: client.retry_batch(ID, "failed"),
    "a key that is a number": lambda client: client.run("load", key=7),
    "nothing": lambda client: client.execution(""),
    "an execution that is None": lambda client: client.execution(None),
    "an execution that is true": lambda client: client.abort(True),
    "an execution in another folder": lambda client: client.execution("../twins"),
    "half a surrogate pair": lambda client: client.execution("\ud800"),
    "a twin without a key": lambda client: client.twins.put(""),
    "a twin with a slash": lambda client: client.twins.put("pumps/7"),
    "a batch that is None": lambda client: client.retry_batch(None),
    "a model that is None": lambda client: client.model(None).read_bytes(),
    "data at None": lambda client: client.data.get(None),
    "a file that is a number": lambda client: client.upload(7),
    "data that is None": lambda client: client.data.put("a", None),
    "filters that are empty": lambda client: list(client.executions(status=[])),
    "a job on everything": lambda client: client.job("abort", pipeline=[]),
    "a wait for a text": lambda client: client.wait(NAME, "5"),
    "a wait for what is no number": lambda client: client.wait(NAME, float("nan")),
}


@pytest.mark.parametrize("how", CALLS)
def test_what_cannot_be_is_refused_before_anything_is_asked(how: str) -> None:
    told = Told()
    with pytest.raises(BadRequest):
        CALLS[how](told.client)
    assert not told.requests


@pytest.mark.parametrize("url", ["", 7])
def test_an_empty_url_is_no_other_ledger(url: Any) -> None:
    """It came out of a variable that was not set, and another ledger would get what was meant for this one."""
    with pytest.raises(BadSettings, match="Client was given the URL"):
        Client(url)


def test_a_wait_without_end_is_one_without_a_timeout() -> None:
    told = Told(record(status="completed", ended_at=datetime.now(UTC).isoformat()))
    assert told.client.wait(NAME, None).status == "completed"


def test_a_file_that_the_caller_has_opened_stays_open_and_can_be_sent_again(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        return httpx.Response(200, json={"sha256": "0" * 64, "size": 3, "media_type": "text/csv", "name": "a.csv"})

    client = Client("http://ledger", "t", transport=httpx.MockTransport(answer))
    content = io.BytesIO(b"head1,2")
    content.seek(4)
    client.upload(content)
    client.data.put("a.csv", content)
    assert (sent, content.read()) == ([b"1,2", b"1,2"], b"1,2")


def test_a_stream_that_cannot_begin_again_says_what_to_give_instead() -> None:
    class Pipe(io.RawIOBase):
        def readable(self) -> bool:
            return True

    told = Told()
    with pytest.raises(BadRequest, match="cannot be read from its beginning again"):
        told.client.upload(Pipe())  # type: ignore[arg-type]
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(BadRequest, match="cannot be read from its beginning again"):
        told.client.upload(closed)


def test_errors_come_through_to_another_process() -> None:
    failed = ExecutionFailed(Execution.read(record(status="failed")))
    again = pickle.loads(pickle.dumps(failed))
    assert (str(again), again.execution) == (str(failed), failed.execution)
    refused = pickle.loads(pickle.dumps(Refused({"type": "urn:x"}, "no")))
    assert (str(refused), refused.problem) == ("no", {"type": "urn:x"})


def test_a_file_that_was_pickled_says_where_its_bytes_are_and_a_copy_still_has_them() -> None:
    ref = FileRef(sha256="0" * 64, size=3, media_type="text/csv", name="a.csv")

    def fetch(into: BinaryIO) -> None:
        into.write(b"1,2")

    file = File.kept(ref, fetch)
    again = pickle.loads(pickle.dumps(file))
    assert (again.name, again.ref) == ("a.csv", ref)
    with pytest.raises(BadRequest, match=r"a\.csv came from another process"):
        again.read_bytes()
    assert copy.deepcopy({"rows": file})["rows"].read_bytes() == b"1,2"
    assert pickle.loads(pickle.dumps(file)).name == "a.csv"  # also once it lies in a folder that goes with it


def test_a_client_says_that_it_is_not_for_pickle() -> None:
    client = Told().client
    for kept in (client, MultiRun(client, {"id": ID, "executions": [], "position": "1.1"})):
        with pytest.raises(TypeError, match="A Client cannot be pickled"):
            pickle.dumps(kept)
