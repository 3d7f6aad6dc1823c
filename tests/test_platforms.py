"""Each row of `services/platforms.md` names a test that exists, or says that it comes later."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "services" / "platforms.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| what they say", "| **"))
]


def names_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("what", "here", "test"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_shown_by_a_test_or_comes_later(what: str, here: str, test: str) -> None:
    if test == "later":
        assert "later" in here, "it says what is missing"
        return
    file, _, name = test.strip("`").partition("::")
    assert name in names_in(ROOT / "tests" / "e2e" / f"{file}.py")
