"""What a pipeline declares: inputs, outputs and limit, registered as JSON under the digest of its content."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .base import Message
from .files import wrong_reference
from .ids import PipelineName
from .parts import Count, PolicyChoice, Reason, Text
from .payload import DEPTH_MAX, json_text, too_deep

PortType = Literal["string", "number", "boolean", "json", "array", "file"]
PortName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class Declared(Message):
    """What people write is taken as it is written: true is no number of runs at once."""

    model_config = ConfigDict(strict=True)


class Port(Declared):
    """One input or output. An input without a default is required; `null` is a value only for `json`."""

    type: PortType
    required: bool = True
    default: Any = None
    description: Reason | None = None


class Definition(Declared):
    name: PipelineName
    inputs: Annotated[dict[PortName, Port], Field(max_length=200)] = Field(default_factory=dict)
    outputs: Annotated[dict[PortName, Port], Field(max_length=200)] = Field(default_factory=dict)
    any_outputs: bool = False  # nothing tells what it returns: any dict will do
    limit: Count | None = None  # how many of it may run at once
    description: Reason | None = None
    policy: PolicyChoice | None = None
    code: Text  # sha256 of the source, so that a changed body is a new version


def mismatch(port: Port, value: Any) -> str | None:
    """What is wrong with a value for this port, in words; None where it fits."""
    if port.type == "file":
        return wrong_reference(value)
    fits = {
        "string": isinstance(value, str),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "json": True,
    }[port.type]
    return None if fits else f"must be a {port.type}, not {_kind(value)}"


def check_defaults(definition: Definition) -> dict[str, str]:
    """What is wrong with the defaults, by input name. Not a rule of `Definition` itself: what is in the log is read."""
    given = {name: port for name, port in definition.inputs.items() if port.default is not None}
    return {
        name: wrong for name, port in given.items() if (wrong := mismatch(port, port.default) or _unfit(port.default))
    }


def _unfit(value: Any) -> str | None:
    if too_deep(value):
        return f"is nested more than {DEPTH_MAX} levels deep"
    try:
        json_text(value).encode()
    except (ValueError, TypeError) as error:  # half a surrogate pair, NaN
        return f"cannot be written as JSON ({error})"
    return None


def check_inputs(definition: Definition, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """All inputs with defaults filled in, and what is wrong by name (empty where all is well)."""
    wrong = {name: "is not an input of this pipeline" for name in given if name not in definition.inputs}
    values: dict[str, Any] = {}
    for name, port in definition.inputs.items():
        if name not in given and port.required:
            wrong[name] = f"is required ({port.type})"
        elif name not in given:
            values[name] = port.default
        elif complaint := mismatch(port, given[name]):
            wrong[name] = complaint
        else:
            values[name] = given[name]
    return values, wrong


def check_outputs(definition: Definition, given: Any) -> dict[str, str]:
    """What is wrong with the value that a pipeline returned, by output name; None stands for no outputs."""
    if given is None and not definition.outputs:
        return {}
    if not isinstance(given, dict):
        return {"*": f"a pipeline returns a dict of its outputs, not {_kind(given)}"}
    wrong = {str(name): "is not an output of this pipeline" for name in given if not _is_output(definition, name)}
    for name, port in definition.outputs.items():
        if name not in given:
            wrong |= {name: "was not returned"} if port.required else {}
        elif complaint := mismatch(port, given[name]):
            wrong[name] = complaint
    return wrong


def _is_output(definition: Definition, name: Any) -> bool:
    return isinstance(name, str) and (definition.any_outputs or name in definition.outputs)


def definition_text(definition: Definition) -> str:
    """The canonical JSON text whose digest is the version's identity."""
    return json_text(definition.model_dump(exclude_none=True))


def _kind(value: Any) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), f"a Python {type(value).__name__}")
