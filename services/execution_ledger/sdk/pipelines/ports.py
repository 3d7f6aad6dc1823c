"""What a function's signature tells about its inputs and outputs, so that most pipelines need not declare any."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import json
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from execution_ledger.errors import BadRequest
from execution_ledger.messages.definition import ItemType, Port, PortType, mismatch, wrong_ports
from execution_ledger.messages.payload import json_text

from ..file import File
from .policy import complaints

# A type's name, or {"type": "number", "min": 1, …} with the fields of a Port.
Declared = Mapping[str, "PortType | Port | Mapping[str, Any]"]

_WORDS: dict[Any, PortType] = {
    inspect.Parameter.empty: "json",
    Any: "json",
    object: "json",
    dict: "json",
    collections.abc.Mapping: "json",
    int: "number",
    float: "number",
    str: "string",
    bool: "boolean",
    list: "array",
    File: "file",
    collections.abc.Sequence: "array",
}


def input_ports(function: Callable[..., Any], declared: Declared | None) -> dict[str, Port]:
    """The inputs: every parameter after the context. Raises BadRequest where declaration and signature differ."""
    parameters = parameters_of(function)
    if declared is None:
        named = {name: p for name, p in parameters.items() if p.kind not in COLLECTING}
        return {name: _input(p, _hinted(_evaluated(function, name, p.annotation), name)) for name, p in named.items()}
    _check_names(parameters, declared)
    return {name: declared_input(parameters.get(name), name, port) for name, port in declared.items()}


def output_ports(function: Callable[..., Any], declared: Declared | None) -> dict[str, Port] | None:
    """The outputs as declared, else those of a TypedDict that it returns; None where nothing tells."""
    if declared is not None:
        return {name: port if isinstance(port, Port) else _port(name, _fields(port)) for name, port in declared.items()}
    returned = _evaluated(function, "return", inspect.signature(function).return_annotation)
    if returned is None or returned is types.NoneType:
        return {}
    if not hasattr(returned, "__required_keys__"):
        return None
    hints = typing.get_type_hints(returned, include_extras=True)
    return {name: _output(name, hint, name in returned.__required_keys__) for name, hint in hints.items()}


def word_of(annotation: Any) -> PortType | None:
    """The port type that fits an annotation, None where none does. A union takes the type that its members share."""
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return word_of(get_args(annotation)[0])
    if origin is Literal:
        return _shared({word_of(type(value)) for value in get_args(annotation)})
    if origin in (typing.Union, types.UnionType):
        return _shared({word_of(member) for member in get_args(annotation) if member is not types.NoneType})
    if hasattr(annotation, "__required_keys__"):  # a TypedDict
        return "json"
    return _WORDS.get(origin or annotation)


COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _shared(words: set[PortType | None]) -> PortType | None:
    if None in words:
        return None
    return words.pop() if len(words) == 1 else "json"


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise BadRequest("it takes no context: its first parameter is the Context, its inputs follow")
    for parameter in parameters[1:]:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise BadRequest(f"{parameter.name!r} is positional-only, but inputs are passed by name")
    return {parameter.name: parameter for parameter in parameters[1:]}


def _check_names(parameters: Mapping[str, inspect.Parameter], declared: Declared) -> None:
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in declared:
        if name not in parameters and not takes_any:
            raise BadRequest(f"the input {name!r} has no parameter of that name")
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty and parameter.kind not in COLLECTING
        if required and name not in declared:
            raise BadRequest(f"its parameter {name!r} is neither declared as an input nor has a default")


def declared_input(parameter: inspect.Parameter | None, name: str, port: PortType | Port | Mapping[str, Any]) -> Port:
    if isinstance(port, Port):
        return port
    return _input(parameter, _fields(port)) if parameter else _port(name, _fields(port))


def _fields(declared: str | Mapping[str, Any]) -> dict[str, Any]:
    """Of a Port, as people write it: a type's name alone, or all of it."""
    return {"type": declared} if isinstance(declared, str) else dict(declared)


def _hinted(annotation: Any, name: str) -> dict[str, Any]:
    """The same out of an annotation: `Literal` lists the values, `list[int]` says the items, `Annotated` the rest."""
    if (word := word_of(annotation)) is None:
        raise BadRequest(
            f"nothing fits the annotation of {name!r}; use int, float, str, bool, list, dict or Any,"
            " or declare inputs={…}"
        )
    said = {"type": word, **_narrowed(annotation)}
    return said | {"required": False} if word != "json" and _may_be_none(annotation) else said


def _may_be_none(annotation: Any) -> bool:
    """Such a value may be left out, and then is None; for `json` null is a value like any other."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _may_be_none(arguments[0])
    return origin in (typing.Union, types.UnionType) and types.NoneType in arguments


def _narrowed(annotation: Any) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        said = [dict(each) for each in arguments[1:] if isinstance(each, Mapping)]
        return functools.reduce(operator.or_, said, _narrowed(arguments[0]))
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        others = [member for member in arguments if member is not types.NoneType]
        return _narrowed(others[0]) if len(others) == 1 else {}
    item = word_of(arguments[0]) if origin in (list, collections.abc.Sequence) else None
    return {"items": item} if item in get_args(ItemType) else {}


def _input(parameter: inspect.Parameter, fields: dict[str, Any]) -> Port:
    """The parameter's own default counts."""
    if parameter.default is inspect.Parameter.empty:
        return _port(parameter.name, fields)
    port = _port(parameter.name, fields | {"required": False, "default": parameter.default})
    if parameter.default is not None and (complaint := _bad_default(port)):
        raise BadRequest(f"the default of {parameter.name!r} {complaint}")
    return port


def _output(name: str, hint: Any, required: bool) -> Port:
    """The hint's own word counts: what is required of a class whose annotations are texts, Python does not know."""
    if (origin := get_origin(hint)) in (typing.Required, typing.NotRequired):
        return _output(name, get_args(hint)[0], origin is typing.Required)
    word = word_of(hint)
    if word is None:
        raise BadRequest(f"nothing fits the annotation of its output {name!r}; declare outputs={{…}}")
    may_be_none = word != "json" and _may_be_none(hint)
    return _port(name, {"type": word, "required": required and not may_be_none, **_narrowed(hint)})


def _port(name: str, fields: dict[str, Any]) -> Port:
    """Raises BadRequest for what is no port, or contradicts itself."""
    if fields.get("type") not in get_args(PortType):
        raise BadRequest(
            f"{fields.get('type')!r} is not a type for {name!r}; use one of {', '.join(get_args(PortType))}"
        )
    try:
        port = Port.model_validate(fields)
    except ValidationError as error:
        raise BadRequest(f"{name!r} is declared wrongly: {complaints(error)}") from error
    for field, wrong in wrong_ports({name: port.model_copy(update={"default": None})}).items():
        raise BadRequest(f"{field} {wrong}")
    return port


def _bad_default(port: Port) -> str | None:
    """A default travels in the definition, so it must come back from JSON as it went in."""
    try:
        same = json.loads(json_text(port.default)) == port.default
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"
    return mismatch(port, port.default) if same else "changes when it is written as JSON"


def _evaluated(function: Callable[..., Any], name: str, annotation: Any) -> Any:
    """An annotation as an object, one by one: one that cannot be read matters only if it is needed."""
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, inspect.unwrap(function).__globals__, include_extras=True)[name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        declare = "outputs" if name == "return" else "inputs"
        raise BadRequest(f"its annotation {annotation!r} cannot be read ({error}); declare {declare}={{…}}") from error
