"""How the steps of an execution, and of a pipeline, are told in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .output import duration

Json = Mapping[str, Any]


def readable_steps(steps: Sequence[Json]) -> dict[str, str]:
    """One line each, with its attempt where there were several."""
    several = len({each["attempt"] for each in steps}) > 1
    lines = [f"attempt {each['attempt']}  {_line(each)}" if several else _line(each) for each in steps]
    return {"steps": "\n".join(lines)}


def readable_origins(ran: Sequence[Json]) -> dict[str, str]:
    """Where the code of attempts and steps came from, each place once."""
    origins = dict.fromkeys(_origin(each["origin"]) for each in ran if each.get("origin"))
    return {"origin": "\n".join(origins)}


def declared_steps(steps: Sequence[Json]) -> str:
    """One line each, in their order."""
    return "\n".join(
        _joined(
            each["name"],
            f"needs {', '.join(each['needs'])}" if each["needs"] else None,
            f"retries {each['retries']}" if each["retries"] else None,
            each.get("description"),
        )
        for each in steps
    )


def step_told(data: Json) -> str:
    """What an event says of a step."""
    return _joined(data["step"], data["status"], *_more(data))


def _line(step: Json) -> str:
    took = None
    if step["started_at"] and step["ended_at"]:
        span = datetime.fromisoformat(step["ended_at"]) - datetime.fromisoformat(step["started_at"])
        took = duration(span.total_seconds())
    return _joined(step["name"], step["status"], took, *_more(step))


def _more(step: Json) -> tuple[str | None, ...]:
    failure = step.get("failure")
    return (
        f"try {step['tries']}" if step["tries"] > 1 else None,
        f"as in {step['reused']}" if step.get("reused") else None,
        failure["message"] if failure else None,
    )


def _origin(origin: Json) -> str:
    words = (origin.get(name) for name in ("repository", "branch", "commit", "requirements"))
    return _joined(origin["kind"], *words)


def _joined(*words: str | None) -> str:
    return "  ".join(filter(None, words))
