"""Problems: every error a caller can get, as RFC 9457 describes it, with a `type` that never changes.

`Refused` is for what the caller must change, `Away` for what passes by itself; both carry the whole document, so
code without HTTP can raise them and the routes need no translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from execution_ledger.errors import BadRequest, BadSettings, LedgerError, OutcomeUnknown, Unavailable
from execution_ledger.messages.wording import worded

TYPE_PREFIX = "urn:execution-ledger:problem:"


class Kind(NamedTuple):
    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "not-http": Kind(400, "This is not HTTP"),
    "unauthorized": Kind(401, "A valid token is needed"),
    "token-expired": Kind(401, "The token has expired"),
    "not-found": Kind(404, "Nothing is here"),
    "unknown-execution": Kind(404, "No such execution"),
    "unknown-batch": Kind(404, "No such batch"),
    "unknown-job": Kind(404, "No such job"),
    "unknown-pipeline": Kind(404, "No such pipeline"),
    "unknown-file": Kind(404, "No such file"),
    "unknown-artifact": Kind(404, "No such artifact"),
    "unknown-data": Kind(404, "Nothing is at this path"),
    "unknown-template": Kind(404, "No such template"),
    "unknown-twin": Kind(404, "No such twin"),
    "unknown-experiment": Kind(404, "No such experiment"),
    "unknown-command": Kind(404, "No decision on such a command"),
    "method-not-allowed": Kind(405, "Not possible on this address"),
    "body-too-slow": Kind(408, "The body did not come in time"),
    "refused": Kind(409, "The ledger refused this"),
    "position-ahead": Kind(409, "The position lies beyond the log"),
    "body-too-large": Kind(413, "The body is too large"),
    "not-json": Kind(415, "The body must be JSON"),
    "invalid-json": Kind(422, "The body is not valid JSON"),
    "invalid-request": Kind(422, "The request is not valid"),
    "too-much-to-read": Kind(422, "This is too much to look through"),
    "key-reused": Kind(422, "This key was used for another request"),
    "head-too-large": Kind(431, "The request line and headers are too large"),
    "too-busy": Kind(429, "Too much is waiting"),
    "views-too-far-behind": Kind(429, "The views have to catch up first"),
    "internal": Kind(500, "Something is wrong here"),
    "command-failed": Kind(500, "The ledger could not decide this"),
    "disk-full": Kind(503, "There is no room for new executions"),
    "outcome-unknown": Kind(503, "It is unknown whether this was received"),
    "log-away": Kind(503, "The log does not answer"),
    "store-away": Kind(503, "The object store does not answer"),
    "dispatcher-away": Kind(503, "The dispatcher does not answer"),
    "dispatcher-behind": Kind(503, "The dispatcher does not yet include your position"),
    "views-away": Kind(503, "The views do not answer"),
    "views-behind": Kind(503, "The views are behind"),
    "starting": Kind(503, "The gateway is starting"),
    "not-ready": Kind(503, "The gateway is not ready"),
}


@dataclass(frozen=True)
class FieldError:
    """`field` is a dotted path into the body, a query parameter or a header."""

    field: str
    detail: str


@dataclass(frozen=True)
class Problem:
    kind: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after_s: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)  # members of its own: command_id, code, position

    @property
    def status(self) -> int:
        return KINDS[self.kind].status

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def document(self) -> dict[str, Any]:
        kind = KINDS[self.kind]
        document = {"type": TYPE_PREFIX + self.kind, "title": kind.title, "status": kind.status, "detail": self.detail}
        errors = [{"field": error.field, "detail": error.detail} for error in self.errors]
        return document | ({"errors": errors} if errors else {}) | dict(self.more)


def field_errors(found: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """What pydantic found, under the names that the caller knows."""
    return [FieldError(_path(each["loc"]), worded(each)) for each in found]


def _path(loc: tuple[int | str, ...]) -> str:
    """`("body", "executions", 3, "inputs")` is `executions[3].inputs` to the caller."""
    path = ""
    for part in loc[1:] if loc[:1] in (("body",), ("query",), ("header",), ("path",)) else loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "body"


class Refused(BadRequest):
    """The caller has to change something; nothing was done."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Away(Unavailable):
    """Something the answer needs is not there now; the same request may succeed later."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refused(kind: str, detail: str, *errors: FieldError, **more: Any) -> Refused:
    return Refused(Problem(kind, detail, errors, more=more))


def away(kind: str, detail: str, retry_after_s: int = 1, **more: Any) -> Away:
    return Away(Problem(kind, detail, retry_after_s=retry_after_s, more=more))


def invalid(*errors: FieldError) -> Refused:
    """Raised with everything that is wrong, so that one round is enough to mend it."""
    shown = "; ".join(f"{error.field}: {error.detail.rstrip('.')}" for error in errors[:3])
    rest = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return refused("invalid-request", f"{shown}{rest}. Correct this and send it again.", *errors)


def problem_of(error: LedgerError) -> Problem:
    """The document for any error of the project's tree."""
    match error:
        case Refused() | Away():
            return error.problem
        case OutcomeUnknown():
            return Problem("outcome-unknown", str(error), retry_after_s=1)
        case BadRequest() | BadSettings():
            return Problem("invalid-request", str(error))
        case Unavailable():
            return Problem("log-away", str(error), retry_after_s=1)
        case _:
            return Problem("internal", str(error))
