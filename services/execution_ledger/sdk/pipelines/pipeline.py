"""`pipeline` turns a function, or steps, into something the ledger can run: the code, and what it declares.

There is no registry: a pipeline is an attribute of its module, where `app.collect` finds it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack, overload

from pydantic import ValidationError

from execution_ledger.errors import BadRequest
from execution_ledger.messages.definition import Definition, definition_text
from execution_ledger.messages.parts import PolicyChoice
from execution_ledger.messages.steps import CodeOrigin

from .policy import PolicyOptions, choice_of, complaints
from .ports import Declared, input_ports, output_ports
from .source import Function, check_function, code_digest, first_line, line_of, where
from .steps import Needs, Step, code_of, declare_step, input_ports_of


class Pipeline:
    """A function with its definition; calling it calls the function. One of `steps` has the first one's function, and
    no `origin` of its own: each step has one.
    """

    def __init__(
        self,
        function: Function,
        definition: Definition,
        steps: Sequence[Step] = (),
        origin: CodeOrigin | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.definition = definition
        self.steps = tuple(steps)
        self.origin = origin
        self.digest = hashlib.sha256(definition_text(definition).encode()).hexdigest()
        self.is_async = inspect.iscoroutinefunction(function)

    @property
    def name(self) -> str:
        return self.definition.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<pipeline {self.name} {self.digest[:12]}>"


class Declaration:
    """What `pipeline(…)` declares before it has any code: put it on one function, or give it steps.

    A step gets the context, the inputs that its parameters name, and by the name of each step that it needs the dict
    that this one returned. Of those dicts the pipeline's outputs are made: what a step returns under the name of a
    declared output is that output, and where none are declared all that the steps return which no other step needs. An
    output that two steps return fails the later one.
    """

    def __init__(
        self,
        name: str | None,
        inputs: Declared | None,
        outputs: Declared | None,
        said: Mapping[str, Any],
        policy: PolicyOptions,
    ) -> None:
        """`said` are further fields of the definition."""
        self._name = name
        self._inputs = inputs
        self._outputs = outputs
        self._said = said
        self._policy = policy
        self._is_bound = False
        self.steps: list[Step] = []

    def __call__(self, function: Function) -> Pipeline:
        if self.steps:
            raise BadRequest(f"The pipeline on {where(function)} has steps already: declare another one.")
        self._is_bound = True
        return _declare(function, self._name, self._inputs, self._outputs, self._said, self._policy)

    @overload
    def step(self, function: Function, /) -> Step: ...
    @overload
    def step(
        self,
        /,
        *,
        needs: Needs = (),
        retries: int = 0,
        name: str | None = None,
        description: str | None = None,
    ) -> Callable[[Function], Step]: ...
    def step(
        self,
        function: Function | None = None,
        /,
        *,
        needs: Needs = (),
        retries: int = 0,
        name: str | None = None,
        description: str | None = None,
    ) -> Step | Callable[[Function], Step]:
        """Declares an async or plain function as a step, by itself or with options.

        It begins once all steps that it `needs` (declared before it) have completed; those that need nothing of each
        other run at once. `retries`: how often it is tried again within an attempt, after half a second, then twice as
        long each time; `NoRetry` ends that. Raises BadRequest, with file and line, for what cannot be declared so.
        """

        def declared(function: Function) -> Step:
            options: dict[str, Any] = {"name": name, "needs": needs, "retries": retries, "description": description}
            self.steps.append(declare_step(function, self._inputs or {}, self.steps, **options))
            return self.steps[-1]

        return declared if function is None else declared(function)

    def whole(self) -> Pipeline | None:
        """The pipeline of its steps; None where it was put on a function. Raises BadRequest, with file and line."""
        if not self.steps and self._is_bound:
            return None
        if not self.steps:
            raise BadRequest(f"The pipeline {self._name!r} has no code: give it steps, or put it on a function.")
        first = self.steps[0].function
        try:
            return Pipeline(first, self._definition(first), self.steps)
        except ValidationError as error:
            raise BadRequest(f"The pipeline with its first step in {line_of(first)}: {complaints(error)}") from error
        except BadRequest as error:
            raise BadRequest(f"The pipeline with its first step in {line_of(first)}: {error}") from error

    def _definition(self, first: Function) -> Definition:
        if self._name is None:
            raise BadRequest('a pipeline of steps needs a name: pipeline("train")')
        outputs = None if self._outputs is None else output_ports(first, self._outputs)
        policy = choice_of(self._policy)
        self._check_delivery(policy)
        return Definition(
            name=self._name,
            inputs=input_ports_of(self.steps, self._inputs or {}),
            outputs=outputs or {},
            any_outputs=outputs is None,
            policy=policy,
            code=code_of(self.steps),
            steps=[step.definition for step in self.steps],
            **self._said,
        )

    def _check_delivery(self, policy: PolicyChoice | None) -> None:
        retried = [step.name for step in self.steps if step.definition.retries]
        if retried and policy and policy.delivery == "at_most_once":
            raise BadRequest(f"code that may run at most once is never retried: leave out the retries of {retried[0]}")


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
) -> Declaration: ...
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
) -> Declaration: ...
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
) -> Pipeline | Declaration:
    """Declares an async or plain function of a context and its inputs, returning a dict of outputs, as a pipeline.

    Or several of them, as its steps, see Declaration.
    Bare, or with a name first; what is omitted is inferred from the annotations. `limit`: how many of it may run at
    once. `template`: it runs on twins of that one alone, whose values are in `ctx.properties`. `policy`: timeout,
    retries, backoff, delivery, queue_ttl and abort_grace, which each run may say anew.
    Raises BadRequest, naming the function, for what cannot be declared so.
    """
    if callable(first):
        return _declare(first, None, None, None, {}, {})
    said = {"limit": limit, "description": description, "labels": labels and dict(labels), "template": template}
    return Declaration(first if first is not None else name, inputs, outputs, said, policy)


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
