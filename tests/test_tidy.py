"""Style is a test: what may import what, how long things get, and what is banned with what to use instead."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "services").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

BANNED = {
    r"\btime\.sleep\(": "wait on a signal",
    r"\b(TODO|FIXME|XXX)\b": "finish it, or say what is open in the README",
    r"\bNotImplementedError\b": "leave out what is not there",
    r"auto_offset_reset\s*=\s*\"(latest|earliest)\"": "a lost position must be an error, never a jump",
    r"\bOFFSET \$": "page by key",
    r"\bcount\(\*\)": "count what a view keeps",
    r"\bdatetime\.now\(|\buuid\.uuid[147]\(": "time and chance come from the World",
}
# The only places that may look at real time or chance themselves.
AT_THE_EDGE = ("clock.py", "embedded/", "cli/")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "begin with a docstring"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=relative)
def test_nothing_grows_past_reading(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX, "move a wall"
    long = [f.name for f in functions(path) if (f.end_lineno or 0) - f.body[0].lineno >= FUNCTION_LINES_MAX]
    assert not long, "one thing per function"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_banned(path: Path) -> None:
    at_the_edge = any(part in relative(path) for part in AT_THE_EDGE)
    found = [
        f"line {number}: {instead}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for pattern, instead in BANNED.items()
        if re.search(pattern, line) and not (at_the_edge and "World" in instead)
    ]
    assert not found


@pytest.mark.parametrize("path", [path for path in TESTS if path.name != "test_tidy.py"], ids=relative)
def test_no_test_sleeps_in_real_time_or_is_skipped(path: Path) -> None:
    assert not re.search(r"\btime\.sleep\(|mark\.(skip|xfail)\b|pytest\.skip\(", path.read_text()), "wait on a signal"


def test_imports_keep_to_the_architecture() -> None:
    check = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    halves = [("pypi", ".org"), ("python", "hosted"), ("repo1.", "maven"), ("repo.", "maven"), ("/wo", "rk/")]
    pattern = re.compile("|".join(re.escape(a + b) for a, b in halves))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    guilty = [name for name in tracked if (ROOT / name).is_file() and pattern.search(_text(ROOT / name))]
    assert not guilty


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
