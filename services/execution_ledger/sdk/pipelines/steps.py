"""Steps as people write them: functions that a pipeline is made of, with what each needs of the others.

A step can only need one that was declared before it, so there is no cycle, and their order is one to run them in.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from execution_ledger.errors import BadRequest
from execution_ledger.messages.definition import Port, StepDefinition
from execution_ledger.messages.steps import STEPS_MAX, CodeOrigin

from .policy import complaints
from .ports import COLLECTING, Declared, declared_input, parameters_of
from .source import Function, check_function, code_digest, first_line, place_of


@dataclass(frozen=True)
class Step:
    """A function with its definition; calling it calls the function. `takes` are the inputs and steps that it gets."""

    function: Function
    definition: StepDefinition
    takes: tuple[str, ...]
    origin: CodeOrigin | None = None

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


Needs = Sequence[Step | str] | Step | str


def declare_step(
    function: Function,
    inputs: Declared,
    before: Sequence[Step],
    *,
    name: str | None,
    needs: Needs,
    retries: int,
    description: str | None,
) -> Step:
    """`before` are the pipeline's steps so far. Raises BadRequest, with the function's file and line."""
    try:
        check_function(function)
        definition = StepDefinition(
            name=function.__name__ if name is None else name,
            needs=[_need(need, before) for need in ([needs] if isinstance(needs, Step | str) else needs)],
            retries=retries,
            description=first_line(function) if description is None else description,
        )
        _check_name(definition.name, inputs, before)
        return Step(function, definition, _taken(function, (*inputs, *definition.needs)))
    except ValidationError as error:
        raise BadRequest(f"The step {place_of(function)}: {complaints(error)}") from error
    except BadRequest as error:
        raise BadRequest(f"The step {place_of(function)}: {error}") from error


def _need(need: object, before: Sequence[Step]) -> str:
    for step in before:
        if need is step or need == step.name:
            return step.name
    named = need.name if isinstance(need, Step) else need
    known = ", ".join(step.name for step in before) or "none yet"
    raise BadRequest(f"it needs {named!r}, which is no step of this pipeline that was declared before it ({known})")


def _check_name(name: str, inputs: Declared, before: Sequence[Step]) -> None:
    if any(name == step.name for step in before):
        raise BadRequest(f"there is a step named {name!r} already; give one of them another: step(name=…)")
    if name in inputs:
        raise BadRequest(f"{name!r} is an input of the pipeline, so nothing could tell the two apart: step(name=…)")
    if len(before) == STEPS_MAX:
        raise BadRequest(f"a pipeline has at most {STEPS_MAX} steps")


def _taken(function: Function, offered: Sequence[str]) -> tuple[str, ...]:
    """Which of the inputs and needed steps it has parameters for."""
    parameters = parameters_of(function)
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty and parameter.kind not in COLLECTING
        if required and name not in offered:
            raise BadRequest(
                f"its parameter {name!r} is neither an input of the pipeline nor a step that it needs; those are: "
                f"{', '.join(offered) or 'none'}"
            )
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return tuple(name for name in offered if takes_all or name in parameters)


def input_ports_of(steps: Sequence[Step], declared: Declared) -> dict[str, Port]:
    """As declared; a default is that of the parameters, which have to agree. Raises BadRequest."""
    return {name: _input_port(steps, name, declared) for name in declared}


def _input_port(steps: Sequence[Step], name: str, declared: Declared) -> Port:
    takers = [step for step in steps if name in step.takes]
    parameters = (parameters_of(step.function).get(name) for step in takers)
    ports = [declared_input(parameter, name, declared[name]) for parameter in parameters]
    if not ports:
        raise BadRequest(f"the input {name!r} is a parameter of none of its steps")
    if any(port != ports[0] for port in ports):
        raise BadRequest(f"its steps {', '.join(step.name for step in takers)} give {name!r} different defaults")
    return ports[0]


def code_of(steps: Sequence[Step]) -> str:
    """The digest of all their sources."""
    return hashlib.sha256("\n".join(code_digest(step.function) for step in steps).encode()).hexdigest()


def arguments_of(step: Step, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """`outputs`: what the steps that it needs gave, by their names."""
    return {name: inputs[name] if name in inputs else outputs[name] for name in step.takes}
