"""What is printed can be read, piped and trusted: nothing in it is taken for markup or moves the cursor."""

from __future__ import annotations

import pytest

from execution_ledger.cli.terminal.output import (
    duration,
    duration_ms,
    filled,
    plain,
    show_event,
    show_fields,
    show_table,
    styled,
)


def test_control_characters_are_made_visible() -> None:
    assert plain("\x1b[2Jred\r\x07 ok\n\ttab") == "\\x1b[2Jred\\x0d\\x07 ok\n\ttab"


def test_markup_in_data_is_just_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields({"message": "[red]boom[/red] [/]"})
    show_table(["A"], [["[bold]"]])
    show_event("12:00:00.000", "execution.failed", "[blink]")
    out = capsys.readouterr().out
    assert "[red]boom[/red] [/]" in out
    assert "[bold]" in out
    assert "[blink]" in out


def test_there_are_no_colours_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["STATUS"], [["failed"]])
    assert "\x1b" not in capsys.readouterr().out


def test_a_wide_table_is_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "B"], [["a" * 200, "b" * 200]])
    assert f"{'a' * 200}  {'b' * 200}" in capsys.readouterr().out


def test_what_is_empty_is_left_out_and_falsehoods_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields(filled({"twin": None, "labels": {}, "priority": 0, "ready": False, "outputs": {"n": 42}}))
    assert capsys.readouterr().out.splitlines() == ["priority  0", "ready     false", 'outputs   {"n": 42}']


@pytest.mark.parametrize(("kind", "style"), [("failed", "red"), ("execution.completed", "green"), ("a twin", "")])
def test_statuses_and_events_are_coloured_by_what_they_are(kind: str, style: str) -> None:
    assert styled(kind).style == style


@pytest.mark.parametrize(("seconds", "text"), [(0.0124, "12 ms"), (1.25, "1.2 s"), (90.0, "1.5 min")])
def test_durations_have_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_has_not_ended_has_no_duration() -> None:
    assert (duration_ms(None), duration_ms(250)) == ("", "250 ms")
