"""What a program asks for, as Python says it and as the gateway takes it: files are sent on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Required, TypedDict

from pydantic import ValidationError

from ...errors import BadRequest
from ...messages.parts import IfLive, Mode
from ..file import File
from ..pipelines.policy import PolicyOptions, choice_of, complaints
from .kept import sent_inputs

if TYPE_CHECKING:
    from .http import Connection


class Asked(TypedDict, total=False):
    """How to run a pipeline; whatever is left out, or None, has the ledger's default.

    An input that is a file may be a Path, an open file or a File: it is sent first.
    `twin` is registered, and its values are properties of the run. `options` are rights of the run (train, plot, write;
    by default those of the mode); `experiment` is what it belongs to, in mode experiment; `policy` is what `@pipeline`
    takes, too: timeout, retries, backoff and so on; `priority` is from -100 to 100, the higher the earlier.

    `business_id` is unique among the pipeline's live executions. Where one is live, `if_live` says what becomes of
    this one: "refuse" (by default), "first" (that one is the answer), or "wait" (it runs after the end of that one).
    """

    inputs: Mapping[str, Any] | None
    twin: str | None
    mode: Mode | None
    experiment: str | None
    options: Mapping[str, Any] | None
    policy: PolicyOptions | None
    properties: Mapping[str, Any] | None
    labels: Mapping[str, str] | None
    priority: int | None
    business_id: str | None
    if_live: IfLive | None


class Changes(Asked, total=False):
    """What a rerun changes: `inputs` and `labels` go over the old ones by name, and all else stays as it was.

    With `newest` it runs the pipeline's newest version, else the one that ran before. With `from_failed` the steps that
    have completed do not run again, and what they gave is reused: then nothing may change that they ran with.
    """

    newest: bool
    from_failed: bool


class Request(Asked, total=False):
    """One execution of a batch."""

    pipeline: Required[str]


def body_of(connection: Connection, asked: Mapping[str, Any], known: dict[int, File] | None = None) -> dict[str, Any]:
    """As the gateway takes it; what is None is left out, and what is a file is sent, unless `known` has it.

    Raises BadRequest for what cannot be.
    """
    body = {name: value for name, value in _mapping("a request", asked).items() if value is not None}
    if "inputs" in body:
        body["inputs"] = sent_inputs(connection, _mapping("inputs", body["inputs"]), {} if known is None else known)
    if "policy" in body:
        body["policy"] = _policy(body["policy"])
    return body


def bodies_of(connection: Connection, requests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of a batch: a file that several of them name is sent once."""
    if isinstance(requests, Mapping | str):
        raise BadRequest('A batch is a list of requests. Write [{"pipeline": …}, …].')
    known: dict[int, File] = {}
    kept = list(requests)  # what is known by its identity must not be gone
    return [body_of(connection, request, known) for request in kept]


def listed(name: str, values: Iterable[Any]) -> list[Any]:
    """Raises BadRequest for one name, of which Python would make a list of its letters."""
    if isinstance(values, str | int):
        raise BadRequest(f"`{name}` is a list of names. Write [{values!r}].")
    return list(values)


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRequest(f'{value!r:.100} cannot be {what}: that is a dict, like {{"name": value}}.')
    return value


def _policy(options: Any) -> dict[str, Any]:
    try:
        choice = choice_of(_mapping("a policy", options))  # type: ignore[arg-type]  # it says itself what is none
    except ValidationError as error:
        raise BadRequest(f"The policy cannot be read: {complaints(error)}") from error
    return choice.model_dump(exclude_none=True) if choice else {}
