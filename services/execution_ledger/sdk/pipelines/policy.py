"""What `@pipeline` and the command line may say of retries and deadlines, made into a PolicyChoice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, TypedDict

from pydantic import ValidationError

from execution_ledger.errors import BadRequest
from execution_ledger.messages.parts import Backoff, Delivery, PolicyChoice
from execution_ledger.messages.wording import worded

from .durations import Duration, duration_ms

RetryKind = Literal["user", "timeout", "infrastructure", "lost"]
_RETRIES: dict[str, str] = {
    "user": "retries",
    "timeout": "timeout_retries",
    "infrastructure": "infrastructure_retries",
    "lost": "losses_max",
}
_BACKOFF: dict[str, str] = {"first": "first_ms", "max": "max_ms", "factor": "factor", "jitter": "jitter"}


class BackoffOptions(TypedDict, total=False):
    """Before each retry: `first`, then `factor` times as long each time, up to `max`; `jitter` is the share drawn."""

    first: Duration
    factor: float
    max: Duration
    jitter: float


class PolicyOptions(TypedDict, total=False):
    """`timeout`: of an attempt. `queue_ttl`: of each wait for a runner. `abort_grace`: to clean up after an abort.

    `retries`: after failures of the code itself, or a number for each kind of failure.
    """

    timeout: Duration
    retries: int | Mapping[RetryKind, int]
    backoff: Duration | BackoffOptions
    delivery: Delivery
    queue_ttl: Duration
    abort_grace: Duration


def choice_of(options: PolicyOptions) -> PolicyChoice | None:
    """None where nothing is said. Raises BadRequest, or pydantic's ValidationError for a value out of its bounds."""
    if not options:
        return None
    fields: dict[str, Any] = {}
    for name, value in options.items():
        match name:
            case "timeout" | "queue_ttl" | "abort_grace":
                fields[f"{name}_ms"] = duration_ms(_duration(value))
            case "retries":
                fields |= _retries(value)
            case "backoff":
                fields[name] = _backoff(value)
            case "delivery":
                fields[name] = value
            case _:
                raise BadRequest(f"{name!r} is no option; these are: {', '.join(PolicyOptions.__annotations__)}")
    choice = PolicyChoice.model_validate(fields)
    if wrong := choice.contradiction():
        raise BadRequest(wrong)
    return choice


def complaints(error: ValidationError) -> str:
    """What pydantic found, in a line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))} {one['input']!r} {worded(one)}" for one in error.errors())


def _retries(value: object) -> dict[str, object]:
    return _renamed("retries", value, _RETRIES) if isinstance(value, Mapping) else {"retries": value}


def _backoff(value: object) -> Backoff:
    """A bare duration is the first wait."""
    given = _renamed("backoff", value if isinstance(value, Mapping) else {"first": value}, _BACKOFF)
    waits = {name: duration_ms(_duration(given[name])) for name in ("first_ms", "max_ms") if name in given}
    return Backoff.model_validate(given | waits)


def _renamed(option: str, given: Mapping[Any, object], names: Mapping[str, str]) -> dict[str, object]:
    if unknown := given.keys() - names.keys():
        raise BadRequest(f"{option} has no {', '.join(map(repr, unknown))}; it may have: {', '.join(names)}")
    return {names[name]: value for name, value in given.items()}


def _duration(value: object) -> Duration:
    """What cannot be one is refused in the words of `duration_ms`."""
    return value if isinstance(value, int | float | str | timedelta) else repr(value)
