"""Checks a request against the version that will run it, and makes the command's parts out of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from execution_ledger.messages.commands import Submit
from execution_ledger.messages.definition import check_inputs
from execution_ledger.messages.files import FileRef, bytes_of, references_in
from execution_ledger.messages.parts import Link, Origin, PipelineRef, Policy
from execution_ledger.messages.payload import DEPTH_MAX, PAYLOAD_BYTES_MAX, Payload, json_payload, too_deep
from execution_ledger.messages.steps import Reusable, Steps

from ..edge.problems import FieldError
from ..stream.catalog import Registered
from ..stream.entries import KnownEntries
from .requests import ExecutionRequest, not_yet, options_of, policy_of
from .resolving import Resolved, resolve


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the gateway adds to a request: who asks, which ids, and what makes it a repeat of itself."""

    command_id: str
    actor: str
    execution_id: str = ""
    keyed: bool = False
    body_digest: str | None = None
    traceparent: str | None = None
    origin: Origin | None = None

    def submit(self, **parts: Any) -> Submit:
        return Submit(
            command_id=self.command_id,
            actor=self.actor,
            keyed=self.keyed,
            body_digest=self.body_digest,
            traceparent=self.traceparent,
            execution_id=self.execution_id,
            origin=self.origin,
            **parts,
        )


class Submittable(Protocol):
    """What may run: a request that was checked, or a retry of what has run before."""

    @property
    def pipeline(self) -> PipelineRef: ...

    def submit(self, stamp: Stamp) -> Submit: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that may run, on `pipeline`."""

    request: ExecutionRequest
    pipeline: PipelineRef
    inputs: Payload
    properties: Payload | None
    policy: Policy
    resolved: Resolved
    steps: Steps | None = None
    link: Link | None = None
    reused: Reusable | None = None
    file_inputs: frozenset[str] = frozenset()

    def files(self) -> list[tuple[str, FileRef]]:
        """By the field that each stands in. Most have none, and cost nothing."""
        if not self.file_inputs:
            return []
        refs = references_in(self.inputs.value())
        return [(f"inputs.{name}", ref) for name, ref in refs.items() if name in self.file_inputs]

    def submit(self, stamp: Stamp) -> Submit:
        return stamp.submit(
            pipeline=self.pipeline,
            inputs=self.inputs,
            properties=self.properties,
            own_properties=self.resolved.own,
            twin=self.request.twin,
            template=self.resolved.template,
            experiment=self.request.experiment,
            mode=self.request.mode,
            options=options_of(self.request),
            labels=self.request.labels,
            priority=self.request.priority,
            policy=self.policy,
            steps=self.steps,
            link=self.link,
            business_id=self.request.business_id,
            if_live=self.request.if_live if self.request.business_id is not None else None,
            reused=self.reused,
        )


def check(request: ExecutionRequest, registered: Registered, entries: KnownEntries) -> Checked | list[FieldError]:
    """The request with its defaults filled in, or everything that is wrong with it."""
    values, wrong = check_inputs(registered.definition, request.inputs)
    errors = [*not_yet(request.options), *(FieldError(f"inputs.{name}", detail) for name, detail in wrong.items())]
    ports = registered.definition.inputs
    files = frozenset(name for name in values if ports[name].type == "file" and values[name] is not None)
    inputs = payload_of("inputs", values, errors)
    resolved = resolve(request, registered.definition, entries, errors)
    properties = None if resolved.properties is None else payload_of("properties", resolved.properties, errors)
    policy = policy_of(request.policy, registered.definition.policy)
    if contradiction := policy.contradiction():
        errors.append(FieldError("policy.retries", contradiction))
    if request.if_live != "refuse" and request.business_id is None:
        errors.append(FieldError("if_live", "belongs to a business_id, and there is none"))
    if errors or inputs is None:
        return errors
    steps = registered.definition.needs
    return Checked(request, registered.ref, inputs, properties, policy.policy(), resolved, steps, file_inputs=files)


def payload_of(
    name: str, value: dict[str, Any], errors: list[FieldError], bytes_max: int = PAYLOAD_BYTES_MAX
) -> Payload | None:
    """Encodes once; what cannot be encoded or is too much is added to `errors`."""
    if too_deep(value):
        errors.append(FieldError(name, f"is nested more than {DEPTH_MAX} levels deep"))
        return None
    try:
        payload = json_payload(value)
    except (ValueError, TypeError) as error:  # NaN from a caller in Python, or half a surrogate pair
        errors.append(FieldError(name, f"cannot be written as JSON ({error})"))
        return None
    if (size := bytes_of(payload, value)) > bytes_max:
        advice = _FOR_LARGE.get(name, "shorten it")
        errors.append(FieldError(name, f"{size:,} bytes of JSON, at most {bytes_max:,} are taken: {advice}"))
    return payload


_IN_THE_DATA_STORE = "keep what is large in the data store, and its path here"
_FOR_LARGE = {
    "inputs": "pass what is large as a file, which does not count",
    "properties": _IN_THE_DATA_STORE,
    "values": _IN_THE_DATA_STORE,
}
