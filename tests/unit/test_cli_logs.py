"""`exledger logs`, and the lines that the client gives: whole, followed, and over broken connections."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from execution_ledger.errors import BadRequest, Unavailable
from execution_ledger.sdk.client import http
from execution_ledger.sdk.client.address import Address
from execution_ledger.sdk.client.client import Client
from execution_ledger.sdk.client.following import BREAKS_MAX
from execution_ledger.sdk.client.http import Connection
from execution_ledger.sdk.client.lines import lines_of_log
from unit.test_cli_commands import exledger

NAME = "load-401"
PATH = f"/v1/executions/{NAME}/logs"


def line(ordinal: int, attempt: int = 1, **more: Any) -> dict[str, Any]:
    said = {"attempt": attempt, "ordinal": ordinal, "time": "2026-01-02T03:04:05.678Z", "stream": "stdout"}
    return {**said, "text": f"line {attempt}.{ordinal}", **more}


def ndjson(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(each) + "\n" for each in lines)


def sse(*lines: dict[str, Any], ended: bool = False) -> str:
    events = [f"id: {each['attempt']}.{each['ordinal']}\ndata: {json.dumps(each)}\n\n" for each in lines]
    return "retry: 1000\n\n" + "".join(events) + ("event: end\ndata: {}\n\n" if ended else "")


class Answers:
    """One text for each question, and then a status."""

    def __init__(self, *texts: str, status: int = 503) -> None:
        self._texts, self._status = list(texts), status
        self.asked: list[tuple[dict[str, str], str | None]] = []
        self.transport = httpx.MockTransport(self.answer)

    def say(self, text: str) -> None:
        self._texts.append(text)

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == PATH
        self.asked.append((dict(request.url.params), request.headers.get("Last-Event-ID")))
        if self._texts:
            return httpx.Response(200, text=self._texts.pop(0))
        return httpx.Response(self._status, json={"title": "Nothing is here", "detail": "not now"})

    def connection(self) -> Connection:
        asking = httpx.Client(base_url="http://ledger", transport=self.transport)
        return Connection(Address("http://ledger", "", ""), asking, lambda seconds: None)


def texts(answers: Answers, **asked: Any) -> list[str]:
    return [each["text"] for each in lines_of_log(answers.connection(), NAME, **asked)]


def test_a_whole_log_ends_with_its_answer() -> None:
    answers = Answers(ndjson(line(1), line(2)))
    assert texts(answers, attempt=1, step="load") == ["line 1.1", "line 1.2"]
    assert answers.asked == [({"attempt": "1", "step": "load"}, None)]


def test_a_followed_log_goes_on_behind_a_break_and_ends_with_its_execution() -> None:
    answers = Answers(sse(line(1), line(2)), sse(), sse(line(3), ended=True))
    assert texts(answers, follow=True) == ["line 1.1", "line 1.2", "line 1.3"]
    assert [last for _, last in answers.asked] == [None, "1.2", "1.2"]


def test_a_ledger_that_stays_away_is_given_up() -> None:
    answers = Answers(sse(line(1)))
    with pytest.raises(Unavailable):
        texts(answers, follow=True)
    assert len(answers.asked) == BREAKS_MAX + 1


def test_what_is_refused_is_not_asked_again() -> None:
    answers = Answers(status=404)
    with pytest.raises(BadRequest, match="not now"):
        texts(answers, follow=True)
    assert len(answers.asked) == 1


def test_the_client_gives_them_types() -> None:
    answers = Answers(ndjson(line(1, level="info", step="load")))
    client = Client("http://ledger", "", transport=answers.transport)
    with client:
        [told] = client.logs(NAME)
    assert (told.ordinal, told.level, told.step, told.time.microsecond) == (1, "info", "load", 678_000)


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What the ledger of every command in this test says."""
    made = Answers()
    monkeypatch.setattr(http, "open_http", lambda address: httpx.Client(base_url=address.url, transport=made.transport))
    monkeypatch.setenv("EXLEDGER_URL", "http://ledger")
    return made


def test_lines_are_shown_with_their_times_and_steps(answers: Answers) -> None:
    answers.say(ndjson(line(1), line(2, step="load", text="400 rows"), line(3, text="\x1b[2Jgone")))
    result = exledger("logs", NAME)
    assert result.exit_code == 0
    first, second, third = (shown.split("  ", 1)[1] for shown in result.stdout.splitlines())
    assert (first, second, third) == ("line 1.1", "load  400 rows", "\\x1b[2Jgone")


def test_missing_lines_marks_and_attempts_are_told_beside_them(answers: Answers) -> None:
    answers.say(ndjson(line(1), line(5), line(9, stream="cut", text="… 4 lines …"), line(10), line(1, 2)))
    result = exledger("logs", NAME)
    assert result.stderr.splitlines() == [
        "… 3 lines did not come through; they are shown once the attempt is over …",
        "attempt 2",
    ]
    assert len(result.stdout.splitlines()) == 5


def test_followed_as_json_they_are_what_the_ledger_sent(answers: Answers) -> None:
    answers.say(sse(line(1), line(2, level="error"), ended=True))
    result = exledger("logs", NAME, "-f", "--step", "load", "--attempt", "1", "--json")
    assert [json.loads(shown) for shown in result.stdout.splitlines()] == [line(1), line(2, level="error")]
    assert answers.asked == [({"follow": "true", "attempt": "1", "step": "load"}, None)]


def test_a_log_that_is_empty_is_no_riddle(answers: Answers) -> None:
    answers.say("")
    shown = exledger("logs", NAME, "--step", "fti")
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "Nothing is there" in shown.stderr
