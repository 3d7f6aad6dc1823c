"""One attempt's log: lines out of pieces, what is kept where there is too much, and what followers get."""

from __future__ import annotations

import itertools
import threading

import pytest

from execution_ledger.messages.lines import TEXT_CHARS_MAX, LogLine
from execution_ledger.runner.captured import PENDING_BYTES_MAX, Captured, Room
from unit.runner_stage import a_token

TOKEN = a_token(attempt=2)


class Listening:
    """A log, and how often it had news."""

    def __init__(self, bytes_max: int = 1_000_000, room: Room | None = None) -> None:
        self.room = room or Room(10_000_000)
        self.told = 0
        self.captured = Captured(TOKEN, itertools.count(1_000).__next__, bytes_max, self.room, self._tell)

    def _tell(self, captured: Captured) -> None:
        self.told += 1

    def kept(self) -> list[LogLine]:
        return [LogLine.model_validate_json(line) for line in self.captured.close()]

    def texts(self) -> list[str]:
        return [line.text for line in self.kept()]


def taken(log: Listening) -> bytes:
    lines = log.captured.take()
    assert lines is not None
    return lines


def test_lines_are_made_of_pieces_and_the_last_one_needs_no_end() -> None:
    log = Listening()
    for piece in ("one", " line\ntwo\n", "", "\n", "the rest"):
        log.captured.write("stdout", piece)
    assert log.texts() == ["one line", "two", "", "the rest"]


def test_a_line_says_when_where_and_in_which_step() -> None:
    log = Listening()
    log.captured.write("stderr", "oh\n", "load")
    log.captured.line("logging", "two\nlines", "warning")
    said = [line.model_dump(exclude_none=True) for line in log.kept()]
    assert said == [
        {"attempt": 2, "ordinal": 1, "time": 1_000, "stream": "stderr", "step": "load", "text": "oh"},
        {"attempt": 2, "ordinal": 2, "time": 1_001, "stream": "logging", "level": "warning", "text": "two\nlines"},
    ]


def test_streams_and_threads_do_not_mix_what_they_have_begun() -> None:
    log = Listening()
    log.captured.write("stdout", "out")
    log.captured.write("stderr", "err")
    other = threading.Thread(target=log.captured.write, args=("stdout", "other\n"))
    other.start()
    other.join()
    log.captured.write("stderr", "or\n")
    log.captured.write("stdout", "put\n")
    assert log.texts() == ["other", "error", "output"]


def test_what_one_step_has_begun_is_not_ended_by_another_and_stays_its_own() -> None:
    """A thread of the pool goes from step to step, and async steps share one."""
    log = Listening()
    log.captured.write("stdout", "loading", "load")
    log.captured.write("stdout", "fitting\n", "fit")
    assert [(line.step, line.text) for line in log.kept()] == [("fit", "fitting"), ("load", "loading")]


def test_the_end_of_a_line_that_was_cut_is_no_line() -> None:
    """As `print` writes it: the text, and then its end."""
    log = Listening()
    for piece in ("x" * 50_000, "\n", "next\n", "\n", "y" * 50_000, "rest\n"):
        log.captured.write("stdout", piece)
    assert [text[:4] for text in log.texts()] == ["xxxx", "next", "", "yyyy", "rest"]


def test_a_progress_bar_is_the_line_that_it_ends_as() -> None:
    log = Listening()
    log.captured.write("stderr", "\r 10%\r 60%\r100%\nwindows\r\n")
    assert log.texts() == ["100%", "windows"]


@pytest.mark.parametrize("text", ["x" * 50_000 + "\n", "x" * 50_000])
def test_a_line_without_end_is_cut(text: str) -> None:
    log = Listening()
    log.captured.write("stdout", text)
    [line] = log.texts()
    assert (len(line), line[-1]) == (TEXT_CHARS_MAX, "…")


def test_what_is_no_text_is_made_text() -> None:
    log = Listening()
    log.captured.write("stdout", "lone \ud800 half\n")
    assert log.texts() == ["lone ? half"]


def test_of_too_much_the_beginning_and_the_end_are_kept_with_a_mark_between() -> None:
    log = Listening(bytes_max=20_000)
    for number in range(10_000):
        log.captured.write("stdout", f"line {number}\n")
    lines = log.kept()
    marks = [at for at, line in enumerate(lines) if line.stream == "cut"]
    assert len(marks) == 1
    [at] = marks
    assert [line.text for line in lines[:at]] == [f"line {number}" for number in range(at)]
    assert [line.text for line in lines[at + 1 :]] == [f"line {number}" for number in range(lines[at].ordinal, 10_000)]
    assert f"{lines[at].ordinal - at:,} lines" in lines[at].text
    assert 15_000 < sum(len(line.model_dump_json(exclude_none=True)) for line in lines) < 21_000


def test_where_others_have_taken_the_room_an_attempt_lets_its_own_lines_go() -> None:
    room = Room(10_000)
    first, second = Listening(room=room), Listening(room=room)
    for _ in range(1_000):
        first.captured.write("stdout", "first\n")
    assert room.bytes <= 10_000
    second.captured.write("stdout", "second\n")
    assert "1 lines" in second.texts()[0]
    first.captured.close()
    assert room.bytes == 0


def test_followers_get_what_is_new_and_are_told_once() -> None:
    log = Listening()
    log.captured.write("stdout", "one\ntwo\n")
    assert log.told == 1
    assert taken(log).count(b"\n") == 2
    assert taken(log) == b""
    log.captured.write("stdout", "three\n")
    assert log.told == 2
    assert b"three" in taken(log)


def test_what_followers_cannot_be_sent_at_once_is_left_out_and_kept() -> None:
    log = Listening(bytes_max=10_000_000)
    for number in range(10_000):
        log.captured.write("stdout", f"line {number}\n")
    assert len(taken(log)) <= PENDING_BYTES_MAX
    log.captured.write("stdout", "the last\n")
    assert LogLine.model_validate_json(taken(log)).ordinal == 10_001
    assert len(log.texts()) == 10_001


def test_of_too_many_lines_in_one_write_only_the_first_are_taken() -> None:
    log = Listening(bytes_max=10_000_000)
    log.captured.write("stdout", "x\n" * 1_000_000 + "begun")
    log.captured.write("stdout", " and ended\n")
    lines = log.kept()
    assert [line.text for line in lines[:2]] == ["x", "x"]
    assert [(line.stream, line.ordinal) for line in lines[-2:]] == [("cut", 1_000_000), ("stdout", 1_000_001)]
    assert "998,000 lines" in lines[-2].text
    assert lines[-1].text == "begun and ended"


def test_behind_its_end_nothing_is_added() -> None:
    log = Listening()
    log.captured.write("stdout", "begun")
    assert log.texts() == ["begun"]
    log.captured.write("stdout", "late\n")
    assert taken(log).count(b"\n") == 1
    assert log.captured.close() == []


def test_many_threads_lose_nothing() -> None:
    log = Listening(bytes_max=10_000_000)

    def chat(name: int) -> None:
        for number in range(500):
            log.captured.write("stdout", f"{name} {number}\n")

    threads = [threading.Thread(target=chat, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = log.kept()
    assert [line.ordinal for line in lines] == list(range(1, 4_001))
    assert {line.text for line in lines} == {f"{name} {number}" for name in range(8) for number in range(500)}


def test_a_line_that_was_begun_is_no_silence() -> None:
    log, silent = Listening(), Listening()
    log.captured.write("stdout", "begun")
    assert (log.captured.silent, silent.captured.silent) == (False, True)
