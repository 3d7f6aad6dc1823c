"""What a pipeline declares: inputs, outputs and limit, registered as JSON under the digest of its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import Message
from .files import FileRef, references_in, wrong_reference
from .ids import Key, PipelineName, StepName
from .parts import Count, Labels, PolicyChoice, Reason, Retries, Text
from .payload import DEPTH_MAX, json_text, too_deep
from .steps import STEPS_MAX, Steps

PortType = Literal["string", "number", "boolean", "json", "array", "file"]
ItemType = Literal["string", "number", "boolean", "json"]
SHOWN_MAX = 10  # values in one message
PortName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Bound = Annotated[float, Field(allow_inf_nan=False)]


class Declared(Message):
    """What people write is taken as it is written: true is no number of runs at once."""

    model_config = ConfigDict(strict=True)


class Port(Declared):
    """One input, output or property. Without a default it is required. `null` is a value for `json` alone; of what may
    be left out, and has no default, it says that it is left out.
    """

    type: PortType
    required: bool = True
    default: Any = None
    description: Reason | None = None
    enum: Annotated[list[Any], Field(min_length=1, max_length=100)] | None = None  # the only values
    min: Bound | None = None  # of a number, as is `max`; both are still in the range
    max: Bound | None = None
    items: ItemType | None = None  # of an array

    @model_validator(mode="before")
    @classmethod
    def _with_a_default_it_is_not_required(cls, said: Any) -> Any:
        if isinstance(said, dict) and said.get("default") is not None:
            return {"required": False, **said}
        return said


Ports = Annotated[dict[PortName, Port], Field(max_length=200)]


class StepDefinition(Declared):
    """A part of a pipeline. It begins when all that it `needs` have completed, and gets what those gave."""

    name: StepName
    needs: Annotated[list[StepName], Field(max_length=STEPS_MAX)] = Field(default_factory=list)
    retries: Retries = 0  # within one attempt
    description: Reason | None = None


class Definition(Declared):
    """`template`: it runs on twins of that one alone, and gets their values."""

    name: PipelineName
    inputs: Ports = Field(default_factory=dict)
    outputs: Ports = Field(default_factory=dict)
    any_outputs: bool = False  # nothing tells what it returns: any dict will do
    limit: Count | None = None  # how many of it may run at once
    description: Reason | None = None
    labels: Labels | None = None
    policy: PolicyChoice | None = None
    template: Key | None = None
    code: Text  # sha256 of the source, of all steps together, so that a changed body is a new version
    # In an order in which each comes after what it needs, so that there can be no cycle.
    steps: Annotated[list[StepDefinition], Field(min_length=1, max_length=STEPS_MAX)] | None = None

    @property
    def needs(self) -> Steps | None:
        """Each step with those that it needs; None where the pipeline is one function."""
        return {step.name: step.needs for step in self.steps} if self.steps else None


def mismatch(port: Port, value: Any) -> str | None:
    """What is wrong with a value for this port, in words; None where it fits."""
    if port.type == "file":
        return wrong_reference(value)
    if not _fits(port.type, value):
        return f"must be {_a(port.type)}, not {_kind(value)}"
    if port.enum is not None and not any(_equal(value, one) for one in port.enum):
        return f"must be one of {_listed(port.enum)}"
    if port.min is not None and _is_number(value) and value < port.min:
        return f"must be at least {port.min:g}"
    if port.max is not None and _is_number(value) and value > port.max:
        return f"must be at most {port.max:g}"
    return _bad_item(port.items, value) if port.items and isinstance(value, list) else None


def wrong_value(port: Port, value: Any) -> str | None:
    """The same of a value that is given: what may be left out, and then is null, may be given as null, too.

    So what was recorded with its defaults can be asked for again.
    """
    is_left_out = value is None and not port.required and port.default is None
    return None if is_left_out else mismatch(port, value)


def _fits(word: PortType, value: Any) -> bool:
    return {
        "string": isinstance(value, str),
        "number": _is_number(value),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "json": True,
    }[word]


def _bad_item(word: ItemType, values: list[Any]) -> str | None:
    bad = next((place for place, value in enumerate(values) if not _fits(word, value)), None)
    return None if bad is None else f"[{bad}] must be {_a(word)}, not {_kind(values[bad])}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    """As JSON has it: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _listed(values: list[Any]) -> str:
    shown = ", ".join(json_text(value) for value in values[:SHOWN_MAX])
    return f"{shown}, …" if len(values) > SHOWN_MAX else shown


def wrong_ports(ports: dict[str, Port]) -> dict[str, str]:
    """What contradicts itself, by `name.field`. Not a rule of `Port` itself: what is in the log is read."""
    found = ((name, _contradiction(port)) for name, port in ports.items())
    return {f"{name}.{wrong[0]}": wrong[1] for name, wrong in found if wrong}


def wrong_in(definition: Definition) -> dict[str, str]:
    """The same of a whole definition, by `inputs.name.field` or `steps[place]`."""
    sides = {"inputs": definition.inputs, "outputs": definition.outputs}
    ports = {f"{side}.{where}": wrong for side, ports in sides.items() for where, wrong in wrong_ports(ports).items()}
    return ports | {f"steps[{place}]": wrong for place, wrong in _wrong_steps(definition)}


def _wrong_steps(definition: Definition) -> Iterator[tuple[int, str]]:
    before: list[str] = []
    for place, step in enumerate(definition.steps or ()):
        if step.name in before:
            yield place, f"there are two steps named {step.name!r}"
        elif len({*step.needs}) < len(step.needs):
            yield place, f"{step.name!r} names a need twice"
        elif missing := [need for need in step.needs if need not in before]:
            yield place, f"{step.name!r} needs {missing[0]!r}, which is no step before it"
        before.append(step.name)


def _contradiction(port: Port) -> tuple[str, str] | None:
    """The field, and what is wrong with it."""
    for name in ("min", "max"):
        if getattr(port, name) is not None and port.type != "number":
            return name, f"is for numbers, not for a {port.type}"
    if port.min is not None and port.max is not None and port.min > port.max:
        return "max", f"is below min, {port.min:g}"
    if port.items is not None and port.type != "array":
        return "items", f"is for arrays, not for a {port.type}"
    for value in port.enum or ():
        if wrong := _unfit(value) or mismatch(port.model_copy(update={"enum": None}), value):
            return "enum", f"holds a value that {wrong}"
    if port.default is not None and (wrong := _unfit(port.default) or mismatch(port, port.default)):
        return "default", wrong
    return None


def _unfit(value: Any) -> str | None:
    if too_deep(value):
        return f"is nested more than {DEPTH_MAX} levels deep"
    try:
        json_text(value).encode()
    except (ValueError, TypeError) as error:  # half a surrogate pair, NaN
        return f"cannot be written as JSON ({error})"
    return None


def check_inputs(definition: Definition, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """All inputs with defaults filled in, and what is wrong by name (empty where all is well)."""
    return check_ports(definition.inputs, given, "an input of this pipeline")


def check_ports(ports: Ports, given: Mapping[str, Any], what: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The same of any ports; `what` is what a name that none of them bears is not."""
    wrong = {name: f"is not {what}" for name in given if name not in ports}
    values: dict[str, Any] = {}
    for name, port in ports.items():
        if name not in given and port.required:
            wrong[name] = f"is required ({port.type})"
        elif name not in given:
            values[name] = port.default
        elif complaint := wrong_value(port, given[name]):
            wrong[name] = complaint
        else:
            values[name] = given[name]
    return values, wrong


def check_outputs(definition: Definition, given: Any) -> dict[str, str]:
    """What is wrong with the value that a pipeline returned, by output name, "" for all; None is no outputs."""
    if given is None and not definition.outputs:
        return {}
    if not isinstance(given, dict):
        return {"": f"a pipeline returns a dict of its outputs, not {_kind(given)}"}
    wrong = {str(name): _no_output(definition, name) for name in given if not _is_output(definition, name)}
    for name, port in definition.outputs.items():
        if name not in given:
            wrong |= {name: "was not returned"} if port.required else {}
        elif complaint := wrong_value(port, given[name]):
            wrong[name] = complaint
    return wrong


def _is_output(definition: Definition, name: Any) -> bool:
    return isinstance(name, str) and (definition.any_outputs or name in definition.outputs)


def default_files(definition: Definition) -> dict[str, FileRef]:
    """The files that inputs are where nothing is said of them, by name."""
    return references_in({name: port.default for name, port in definition.inputs.items() if port.type == "file"})


def _no_output(definition: Definition, name: Any) -> str:
    if definition.any_outputs:
        return f"names an output, and is {_kind(name)}: names are strings"
    known = ", ".join(definition.outputs)
    return f"is not an output of this pipeline; those are: {known}" if known else "is not an output: it declares none"


def definition_text(definition: Definition) -> str:
    """The canonical JSON text whose digest is the version's identity."""
    return json_text(definition.model_dump(exclude_none=True))


def _a(word: PortType | ItemType) -> str:
    return f"an {word}" if word == "array" else f"a {word}"


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
