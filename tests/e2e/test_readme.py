"""The README is true: its pipelines are run, its commands are typed, and what it prints is what comes."""

from __future__ import annotations

import doctest
import re
import shlex
import signal
from pathlib import Path

import pytest

from e2e.program import Dev, Program, answer, exledger

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
PYTHON = "\n".join(re.findall(r"```pycon\n(.*?)```", README, re.DOTALL))
CONSOLE = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
NAME = re.compile(r"\b(?:load|train)-[0-9a-z]+\b")
VARYING = {
    r"\b(runner|dispatcher)-[0-9a-f]+": r"\1",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "DATE",
    r"\d\d:\d\d:\d\d\.\d{3}": "TIME",
    r"\b[\d.,]+ m?s\b": "DURATION",
    r"(?m) \d+ *$": " SEQUENCE",
    r"(?m)[ \t]+": " ",
    r"(?m) $": "",
}


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    (folder / "pipelines.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL)))
    return folder


def steps() -> list[tuple[str, str]]:
    """Each command of the README with what it says is printed."""
    parts = re.split(r"^\$ exledger (.*)$\n", CONSOLE, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], (printed.strip("\n") for printed in parts[1::2]), strict=True))


def steady(text: str) -> str:
    for pattern, word in VARYING.items():
        text = re.sub(pattern, word, text)
    return text.strip()


def test_every_command_prints_what_the_readme_says(dev: Dev) -> None:
    names: dict[str, str] = {}  # as the README has them -> as they are in this run
    for command, promised in steps():
        typed = NAME.sub(lambda found: names[found[0]], command)
        result = exledger(dev, *shlex.split(typed))
        printed = result.stderr + result.stdout
        names.update(zip(NAME.findall(promised), NAME.findall(printed), strict=True))
        translated = NAME.sub(lambda found: names[found[0]], promised)
        assert steady(printed) == steady(translated), command


def test_python_answers_what_the_readme_says(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXLEDGER_URL", dev.field("URL"))
    monkeypatch.setenv("EXLEDGER_TOKEN", (dev.folder / "token").read_text())
    told: list[str] = []
    session = doctest.DocTestParser().get_doctest(PYTHON, {}, "README", None, None)
    assert len(session.examples) > 5
    doctest.DocTestRunner().run(session, out=told.append, clear_globs=False)
    session.globs["client"].close()
    assert not told, "".join(told)


def test_tail_prints_what_the_readme_says(dev: Dev) -> None:
    promised = re.findall(r"^    \d\d:\d\d:.*$", README, re.MULTILINE)
    with Program("tail", "--data-dir", str(dev.folder)) as tail:
        tail.wait_for("Following")
        name = answer(dev, "run", "load", "-i", "days=3", "--wait")["name"]
        tail.wait_for("execution.completed")
        assert tail.end(signal.SIGINT) == 0
    lines = [line for line in tail.printed.splitlines() if name in line]
    assert [steady(NAME.sub("name", line)) for line in lines] == [steady(NAME.sub("name", line)) for line in promised]


def test_both_commands_are_alone_sufficient() -> None:
    assert "pip install uv && uv run exledger dev" in README
    assert "pip install uv && uv run pytest" in README
