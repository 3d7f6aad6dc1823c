"""The event stream is followed over broken connections: no event is lost or seen twice."""

from __future__ import annotations

import json
from itertools import islice

import httpx
import pytest

from execution_ledger.errors import BadRequest, Unavailable
from execution_ledger.sdk.client.address import Address
from execution_ledger.sdk.client.following import BREAKS_MAX, Frame, follow, frames
from execution_ledger.sdk.client.http import Connection


def frame(position: str, number: int) -> str:
    return f"id: {position}\nevent: execution.queued\ndata: {json.dumps({'number': number})}\n\n"


class Stream:
    """Each connection serves one text and then breaks; remembers where each one asked to go on."""

    def __init__(self, *texts: str) -> None:
        self._texts = list(texts)
        self.asked: list[str | None] = []
        self.params: list[dict[str, str]] = []
        self.pauses: list[float] = []

    def connection(self) -> Connection:
        http = httpx.Client(base_url="http://ledger", transport=httpx.MockTransport(self._answer))
        return Connection(Address("http://ledger", "", ""), http, self.pauses.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("Last-Event-ID"))
        self.params.append(dict(request.url.params))
        if not self._texts:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, text=self._texts.pop(0))


def numbers(stream: Stream, count: int) -> list[int]:
    """Of the first events that come; frames that only tell a position are passed over."""
    events = (json.loads(frame.data) for frame in follow(stream.connection()) if frame.data)
    return [event["number"] for event in islice(events, count)]


def test_a_broken_stream_goes_on_behind_the_last_event() -> None:
    stream = Stream(frame("0.1", 1) + frame("0.2", 2), frame("0.3", 3))
    assert numbers(stream, 3) == [1, 2, 3]
    assert stream.asked == [None, "0.2"]


def test_an_event_that_was_cut_off_is_not_told_and_comes_again() -> None:
    whole = frame("0.2", 2)
    stream = Stream(frame("0.1", 1) + whole[:-1], whole)
    assert numbers(stream, 2) == [1, 2]
    assert stream.asked == [None, "0.1"]


def test_an_event_may_hold_what_python_takes_for_an_end_of_line() -> None:
    message = "a\u2028b\u2029c\x85d"
    event = json.dumps({"data": {"message": message}}, ensure_ascii=False)
    found = next(follow(Stream(f"id: 0.1\ndata: {event}\n\n").connection()))
    assert json.loads(found.data) == {"data": {"message": message}}


def test_a_stream_that_breaks_before_its_first_event_still_goes_on_where_it_began() -> None:
    stream = Stream("retry: 1000\nid: 0.7\n\n", frame("0.8", 8))
    assert numbers(stream, 1) == [8]
    assert stream.asked == [None, "0.7"]


def test_a_ledger_that_stays_away_is_given_up() -> None:
    stream = Stream(frame("0.1", 1))
    events = follow(stream.connection())
    next(events)
    with pytest.raises(Unavailable, match="No ledger answers"):
        next(events)
    assert len(stream.pauses) == BREAKS_MAX


def test_where_it_begins_and_whom_it_is_about_is_asked_each_time() -> None:
    stream = Stream(frame("0.1", 1), frame("0.2", 2))
    events = follow(stream.connection(), after="", execution="double-401")
    assert [next(events).id, next(events).id] == ["0.1", "0.2"]
    assert stream.params == [{"after": "", "execution": "double-401"}] * 2


def test_only_the_first_of_several_breaks_is_told() -> None:
    told: list[Unavailable] = []
    stream = Stream(frame("0.1", 1), "", "", frame("0.2", 2))
    events = follow(stream.connection(), broken=told.append)
    assert [next(events).id, next(events).id] == ["0.1", "0.2"]
    assert len(told) == 1


def test_a_refused_token_ends_it_at_once() -> None:
    http = httpx.Client(
        base_url="http://ledger", transport=httpx.MockTransport(lambda request: httpx.Response(401, json={}))
    )
    with pytest.raises(BadRequest, match="does not accept the token"):
        next(follow(Connection(Address("http://ledger", "old", "EXLEDGER_TOKEN"), http)))


def test_frames_pass_over_comments_and_keep_the_last_id() -> None:
    lines = [": keep-alive", "id: 0.1", "", "id: 0.2", "data: a", "data: b", "", "data:c", "", "id: 0.9"]
    assert list(frames(lines)) == [Frame("0.1", ""), Frame("0.2", "a\nb"), Frame("0.2", "c")]
