"""`@pipeline` turns a function into something the ledger can run: the function, and what it declares.

There is no registry: a pipeline is an attribute of its module. An app is a module, by name or by file, and `collect`
finds its pipelines there.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack, overload

from pydantic import ValidationError

from execution_ledger.errors import BadRequest, BadSettings
from execution_ledger.messages.definition import Definition, definition_text

from .policy import PolicyOptions, choice_of, complaints
from .ports import Declared, input_ports, output_ports
from .source import Function, check_function, code_digest, first_line, line_of, where

PLACES_MAX = 3  # lines told of an import that fails


class Pipeline:
    """A function with its definition; calling it calls the function."""

    def __init__(self, function: Function, definition: Definition) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.definition = definition
        self.digest = hashlib.sha256(definition_text(definition).encode()).hexdigest()
        self.is_async = inspect.iscoroutinefunction(function)

    @property
    def name(self) -> str:
        return self.definition.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<pipeline {self.name} {self.digest[:12]}>"


@overload
def pipeline(function: Function, /) -> Pipeline: ...
@overload
def pipeline(
    name: str | None = None,
    /,
    *,
    inputs: Declared | None = None,
    outputs: Declared | None = None,
    limit: int | None = None,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
    template: str | None = None,
    **policy: Unpack[PolicyOptions],
) -> Callable[[Function], Pipeline]: ...
@overload
def pipeline(
    *,
    name: str,
    inputs: Declared | None = None,
    outputs: Declared | None = None,
    limit: int | None = None,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
    template: str | None = None,
    **policy: Unpack[PolicyOptions],
) -> Callable[[Function], Pipeline]: ...
def pipeline(
    first: Function | str | None = None,
    /,
    *,
    name: str | None = None,
    inputs: Declared | None = None,
    outputs: Declared | None = None,
    limit: int | None = None,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
    template: str | None = None,
    **policy: Unpack[PolicyOptions],
) -> Pipeline | Callable[[Function], Pipeline]:
    """Declares an async or plain function of a context and its inputs, returning a dict of outputs, as a pipeline.

    Bare, or with a name first; what is omitted is inferred from the annotations. `limit`: how many of it may run at
    once. `template`: it runs on twins of that one alone, whose values are in `ctx.properties`. `policy`: timeout,
    retries, backoff, delivery, queue_ttl and abort_grace, which each run may say anew.
    Raises BadRequest, naming the function, for what cannot be declared so.
    """
    if callable(first):
        return _declare(first, None, None, None, {}, {})
    said = {"limit": limit, "description": description, "labels": labels and dict(labels), "template": template}
    return lambda function: _declare(function, first if first is not None else name, inputs, outputs, said, policy)


def _declare(
    function: Function,
    name: str | None,
    inputs: Declared | None,
    outputs: Declared | None,
    said: Mapping[str, Any],
    policy: PolicyOptions,
) -> Pipeline:
    """`said` are further fields of the definition; a description that is None is taken from the function."""
    try:
        check_function(function)
        declared_outputs = output_ports(function, outputs)
        definition = Definition(
            name=function.__name__ if name is None else name,
            inputs=input_ports(function, inputs),
            outputs=declared_outputs or {},
            any_outputs=declared_outputs is None,
            policy=choice_of(policy),
            code=code_digest(function),
            **{**said, "description": first_line(function) if said.get("description") is None else said["description"]},
        )
        return Pipeline(function, definition)
    except ValidationError as error:
        raise BadRequest(f"@pipeline on {where(function)}: {complaints(error)}") from error
    except BadRequest as error:
        raise BadRequest(f"@pipeline on {where(function)}: {error}") from error


# --- finding them -----------------------------------------------------------------------------------------------


def collect(module: ModuleType) -> dict[str, Pipeline]:
    """The pipelines of a module by name. Raises BadRequest for two of one name, BadSettings where there are none."""
    found: dict[str, Pipeline] = {}
    for attribute, value in vars(module).items():
        if not isinstance(value, Pipeline):
            continue
        first = found.setdefault(value.name, value)
        if first is not value:
            raise BadRequest(
                f"The app {module.__name__} has two pipelines named {value.name!r}: one in {line_of(first.function)}, "
                f"one ({attribute}) in {line_of(value.function)}. "
                "Give one of them another name: @pipeline(name=…)."
            )
    if not found:
        raise BadSettings(f"The app {module.__name__} has no pipeline: put @pipeline on a function in {_file(module)}.")
    return found


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
    """Where it happened, the innermost line last; not the import machinery, and not this file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [(frame.filename, frame.lineno, frame.line) for frame in frames if not _imports(frame.filename)]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "?", error.lineno, error.text))
    return [f"{file}, line {line}: {(text or '').strip()}" for file, line, text in lines[-PLACES_MAX:]]


def _imports(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")


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
