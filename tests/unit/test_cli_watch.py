"""What `dev` says of services that die."""

from __future__ import annotations

from pathlib import Path

import pytest

from execution_ledger.cli.stack.watch import WORDS_AGAIN, NotReady, Watch, last_words
from execution_ledger.embedded.process import ChildSpec
from execution_ledger.errors import BadSettings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("Error: no app", "no app"),
        ("printed\nError: first\nprinted\nError: last\n  line 7\n", "last\n  line 7"),
        ('{"event":"it stands still","level":"critical"}\n', "it stands still"),
        ('{"event":"shard claimed","level":"info"}\n', ""),
        ('printed "Error: " and 7\n[1]\n', ""),
    ],
)
def test_last_words_are_errors_only(tmp_path: Path, text: str, words: str) -> None:
    log = tmp_path / "runner.log"
    log.write_text(f"Error: of an earlier life\n{text}")
    assert last_words(log, len("Error: of an earlier life\n")) == words


def test_megabytes_without_a_newline_are_bounded(tmp_path: Path) -> None:
    log = tmp_path / "runner.log"
    log.write_text("Error: " + "x" * 50_000)
    assert len(last_words(log, 0)) == 2_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "runner.log"


@pytest.fixture
def watch(log: Path) -> Watch:
    made = Watch(log.parent)
    made.follow([ChildSpec("runner", ["runner"], log_path=log)])
    return made


def dies(watch: Watch, log: Path, words: str, code: int = 1) -> None:
    with log.open("a") as file:
        file.write(f"{words}\n")
    watch.tell("runner", "died", f"exit code {code}")


def test_what_cannot_run_as_it_is_ends_the_start_at_once(watch: Watch, log: Path) -> None:
    watch.check()
    dies(watch, log, "Error: line 7 is wrong", code=2)
    with pytest.raises(BadSettings, match=r"The runner cannot run\. line 7 is wrong"):
        watch.check()


def test_what_dies_again_and_again_ends_the_start(watch: Watch, log: Path) -> None:
    for _ in range(2):
        dies(watch, log, "printed")
        watch.check()
    dies(watch, log, "printed")
    with pytest.raises(NotReady, match="again and again"):
        watch.check()


def test_the_same_last_words_are_repeated_now_and_then(
    watch: Watch, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(WORDS_AGAIN + 1):
        dies(watch, log, "Error: it is \x1b[2J wrong")
    dies(watch, log, "Error: something else")
    shown = capsys.readouterr().err
    assert shown.count("it is \\x1b[2J wrong") == 2
    assert shown.count("something else") == 1
    assert shown.count("runner died") == WORDS_AGAIN + 2


def test_a_full_disk_is_named_instead_of_what_comes_of_it(
    watch: Watch, log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execution_ledger.cli.stack.watch.DISK_FULL_BYTES", 10**18)
    watch.tell("kafka", "died", "exit code 1")
    assert f"The disk of {log.parent} is full. Free some space" in capsys.readouterr().err
