"""An app: a module, by name or by file, whose attributes are the pipelines that it offers."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from execution_ledger.errors import BadRequest, BadSettings

from .origin import origin_of
from .pipeline import Declaration, Pipeline
from .source import file_of, line_of
from .steps import Step

PLACES_MAX = 3  # lines told of an import that fails


def collect(module: ModuleType) -> dict[str, Pipeline]:
    """The pipelines of a module by name. Raises BadRequest for two of one name, and where a decorator hides one;
    BadSettings where there are none.
    """
    found: dict[str, Pipeline] = {}
    known: dict[int, Pipeline | None] = {}  # one may have several names in its module
    for attribute, declared in vars(module).items():
        if id(declared) not in known:
            known[id(declared)] = _pipeline_of(declared)
        if (value := known[id(declared)]) is None:
            continue
        first = found.setdefault(value.name, value)
        if first is not value:
            raise BadRequest(
                f"The app {module.__name__} has two pipelines named {value.name!r}: one in {line_of(first.function)}, "
                f"one ({attribute}) in {line_of(value.function)}. "
                "Give one of them another name: @pipeline(name=…)."
            )
    _check_not_hidden(module)
    if not found:
        raise BadSettings(f"The app {module.__name__} has no pipeline: put @pipeline on a function in {_file(module)}.")
    return found


def _check_not_hidden(module: ModuleType) -> None:
    """What lies over a pipeline, or over a step, would never run: what was declared is the function below it."""
    offered = {id(value) for value in vars(module).values()}
    for attribute, value in vars(module).items():
        if not inspect.isfunction(value):
            continue
        inner: object = inspect.unwrap(value, stop=lambda each: isinstance(each, Pipeline | Step))
        if isinstance(inner, Pipeline | Step) and id(inner) not in offered:
            what = "@pipeline" if isinstance(inner, Pipeline) else "step"
            raise BadRequest(
                f"A decorator lies over {what} on {attribute} ({line_of(inner.function)}), and would never run: "
                f"put {what} first, above all others."
            )


def _pipeline_of(declared: object) -> Pipeline | None:
    if isinstance(declared, Declaration):
        return declared.whole()
    return declared if isinstance(declared, Pipeline) else None


def with_origins(pipelines: Mapping[str, Pipeline]) -> dict[str, Pipeline]:
    """With the checkouts that their code comes from. It waits for `git`, so it is nothing to do in a loop."""
    return {name: _with_origins(pipeline) for name, pipeline in pipelines.items()}


def _with_origins(whole: Pipeline) -> Pipeline:
    """Each step's own, for they may come from several files."""
    steps = [replace(step, origin=origin_of(file_of(step.function))) for step in whole.steps]
    origin = None if steps else origin_of(file_of(whole.function))
    return Pipeline(whole.function, whole.definition, steps, origin)


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "it"


def load_app(name_or_path: str) -> ModuleType:
    """Imports `package.module` or `path/to/file.py`. Raises BadSettings, with file and line, when it cannot."""
    path = Path(name_or_path)
    try:
        return _load_file(path) if path.suffix == ".py" else _load_module(name_or_path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the users' code raises, SystemExit included
        last_line = traceback.format_exception_only(error)[-1].strip()
        places = "".join(f"\n  {place}" for place in _places(error))
        raise BadSettings(f"The app {name_or_path!r} cannot be imported: {last_line}{places}") from error


def _places(error: BaseException) -> list[str]:
    """Where it happened, the innermost line last; not the import machinery, and not this package."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [(frame.filename, frame.lineno, frame.line) for frame in frames if not _imports(frame.filename)]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "?", error.lineno, error.text))
    return [f"{file}, line {line}: {(text or '').strip()}" for file, line, text in lines[-PLACES_MAX:]]


def _imports(file: str) -> bool:
    ours = Path(file).parent == Path(__file__).parent
    return ours or file == importlib.__file__ or file.startswith("<frozen importlib")


def _load_module(name: str) -> ModuleType:
    """A console script does not search the working directory, where people keep their modules."""
    _search(Path.cwd())
    return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = path.stem if _is_free(path.stem, path) else f"app_{path.stem}"
    if name in sys.modules and not _is_free(name, path):
        raise ImportError(f"a module named {name} is loaded already; rename the file")
    _search(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickling and dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_free(name: str, path: Path) -> bool:
    loaded = sys.modules.get(name)
    return loaded is None or getattr(loaded, "__file__", None) == str(path)


def _search(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
