"""SQL lives in files: each query has a name that is used, and a line that says why it is so."""

from __future__ import annotations

from pathlib import Path

import pytest

import execution_ledger.projector
from execution_ledger.postgres import queries
from execution_ledger.projector.changes import PROGRESS, StoredPosition

FOLDER = Path(execution_ledger.projector.__file__).parent
FILES = {
    "sql/apply.sql": "postgres.py",
    "sql/migrations.sql": "migrations.py",
    "sql/rebuilding.sql": "rebuilding.py",
}


@pytest.mark.parametrize("file", FILES)
def test_each_query_has_a_reason_and_a_caller(file: str) -> None:
    caller = (FOLDER / FILES[file]).read_text()
    for name, query in queries("execution_ledger.projector", file).items():
        assert query.startswith("-- "), f"{name} does not say why"
        assert f'sql["{name}"]' in caller.replace("_SQL[", "sql[")


def test_parameters_are_as_many_as_the_values_they_get() -> None:
    """Positional parameters and tuples of columns are far apart: a column added to one must come to both."""
    sql = queries("execution_ledger.projector", "sql/apply.sql")
    assert f"${len(PROGRESS)}::" in sql["patch_executions"]
    assert f"${len(PROGRESS) + 1}" not in sql["patch_executions"]
    names = sql["patch_executions"].partition("AS p (")[2].partition(")")[0]
    assert tuple(name.strip() for name in names.split(",")) == PROGRESS
    assert f"${1 + len(StoredPosition._fields)}" in sql["first_position"]
