"""What a function's source tells: whether it can be a pipeline, its first line of documentation, its digest."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable
from typing import Any

from execution_ledger.errors import BadRequest

Function = Callable[..., Any]
DESCRIPTION_CHARS_MAX = 2_000


def check_function(function: Function) -> None:
    if not inspect.isfunction(function):
        raise BadRequest("it is not a function; declare a `def` or an `async def`")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadRequest("it yields; a pipeline returns a dict of its outputs once")


def first_line(function: Function) -> str | None:
    text = inspect.getdoc(function)
    return text.partition("\n")[0][:DESCRIPTION_CHARS_MAX] if text else None


def code_digest(function: Function) -> str:
    """Of the source, so that a change of a comment is a new version too; of the bytecode where there is no source."""
    try:
        code = inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = b"".join(_bytecode(inspect.unwrap(function).__code__))
    return hashlib.sha256(code).hexdigest()


def _bytecode(code: types.CodeType) -> list[bytes]:
    parts = [code.co_code, repr(code.co_names).encode()]
    for constant in code.co_consts:
        parts += _bytecode(constant) if isinstance(constant, types.CodeType) else [repr(constant).encode()]
    return parts


def where(function: Function) -> str:
    module = getattr(function, "__module__", "?")
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"


def place_of(function: Function) -> str:
    """Which function it is, with file and line where it has them."""
    return f"{where(function)} ({line_of(function)})" if hasattr(function, "__code__") else where(function)


def file_of(function: Function) -> str:
    code: types.CodeType = inspect.unwrap(function).__code__
    return code.co_filename


def line_of(function: Function) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}, line {code.co_firstlineno}"
