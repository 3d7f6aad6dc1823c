"""Finding the pipelines of an app."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from execution_ledger.errors import BadRequest, BadSettings
from execution_ledger.sdk.pipelines.app import collect, load_app
from execution_ledger.sdk.pipelines.pipeline import pipeline

APP = """
from dataclasses import dataclass
from execution_ledger import Context, pipeline
from beside_the_app import FACTOR

@dataclass
class Unrelated:
    n: int

@pipeline
async def double(context: Context, n: int):
    return {"n": FACTOR * n}

alias = double
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "beside_the_app.py").write_text("FACTOR = 2\n")
    path = tmp_path / "an_app.py"
    path.write_text(APP)
    return path


def test_an_app_is_loaded_from_a_file_that_imports_its_neighbours(app: Path) -> None:
    module = load_app(str(app))
    assert list(collect(module)) == ["double"]


def test_an_app_is_loaded_by_name_from_the_working_directory(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app.parent)
    assert list(collect(load_app("an_app"))) == ["double"]


def test_a_file_named_like_a_loaded_module_leaves_that_alone(app: Path) -> None:
    clash = app.rename(app.parent / "json.py")
    json = sys.modules["json"]
    assert list(collect(load_app(str(clash)))) == ["double"]
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("def (", "SyntaxError: invalid syntax"),
    ],
)
def test_an_app_that_fails_to_import_says_why_and_where(tmp_path: Path, code: str, error: str) -> None:
    path = tmp_path / "broken_app.py"
    path.write_text(f"\n{code}")
    with pytest.raises(BadSettings) as refused:
        load_app(str(path))
    assert str(refused.value).endswith(f"cannot be imported: {error}\n  {path}, line 2: {code}")
    assert "broken_app" not in sys.modules


@pytest.mark.parametrize("name", ["no.such.module", "no/such/file.py"])
def test_an_app_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(BadSettings, match="cannot be imported"):
        load_app(name)


def test_two_pipelines_may_not_share_a_name() -> None:
    @pipeline("train")
    def first(context: object) -> None: ...

    @pipeline("train")
    def second(context: object) -> None: ...

    module = ModuleType("an_app")
    vars(module).update(first=first, second=second)
    with pytest.raises(BadRequest, match=r"two pipelines named 'train': one in .*line .*, one .second. in .*line"):
        collect(module)


def test_an_app_without_pipelines_is_refused_at_once() -> None:
    with pytest.raises(BadSettings, match="has no pipeline: put @pipeline on a function"):
        collect(ModuleType("an_app"))


HIDDEN = """
import functools
from execution_ledger import pipeline

def timed(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner

@pipeline
@timed
def below(context, n: int = 2):
    return {"n": n}
"""


@pytest.mark.parametrize(
    ("over", "what"),
    [
        ("@timed\n@pipeline\ndef load(context): ...", "@pipeline on load"),
        ("@timed\n@timed\n@pipeline\ndef load(context): ...", "@pipeline on load"),
        ("many = pipeline('many')\n@timed\n@many.step\ndef load(context): ...", "step on load"),
    ],
)
def test_a_decorator_over_a_pipeline_would_never_run_and_is_refused(tmp_path: Path, over: str, what: str) -> None:
    path = tmp_path / "an_app.py"
    path.write_text(HIDDEN + over)
    with pytest.raises(BadRequest, match=rf"(?s)A decorator lies over {what} .*an_app.py, line .* put .* above all"):
        collect(load_app(str(path)))


def test_what_is_wrapped_beside_a_pipeline_is_nobodys_business(tmp_path: Path) -> None:
    path = tmp_path / "an_app.py"
    path.write_text(HIDDEN + "quick = timed(below)")
    assert list(collect(load_app(str(path)))) == ["below"]
