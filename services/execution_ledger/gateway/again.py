"""Again: a new execution made from one that has ended, all the same (a retry) or with changes (a rerun). Pure.

What it was asked for is taken from its first event, not from columns: the very payloads, and whatever a later release
adds to that event, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from execution_ledger.messages.commands import Submit
from execution_ledger.messages.events import Queued, decode_event
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import Link, PipelineRef, PolicyChoice, Status

from .checking import Stamp
from .problems import field_errors, invalid, refused
from .requests import ExecutionRequest, OptionsRequest, RerunRequest, policy_of

# What a new execution does not share with the one that it was made from.
_ITS_OWN = frozenset({"origin", "link", "body_digest", "keyed", "if_live"})
_KEPT = (Submit.model_fields.keys() & Queued.model_fields.keys()) - _ITS_OWN


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended, and what it was asked for."""

    id: str
    name: str
    status: Status
    asked: Queued

    @property
    def shard(self) -> int:
        """Where what is made from it lives, too: one reader sees both, in this order."""
        return shard_of(self.id)

    @property
    def place(self) -> int:
        """In its batch."""
        return self.asked.origin.ordinal if self.asked.origin else 0


@dataclass(frozen=True, slots=True)
class Retry:
    ended: Ended

    @property
    def pipeline(self) -> PipelineRef:
        return self.ended.asked.pipeline

    def submit(self, stamp: Stamp) -> Submit:
        kept = {name: getattr(self.ended.asked, name) for name in _KEPT}
        return stamp.submit(**kept, link=Link(how="retry", to=self.ended.id))


def ended_of(row: Mapping[str, Any]) -> Ended:
    """Raises Refused where it has not ended, or where its inputs are not kept with it."""
    name, status = row["name"], Status(row["status"])
    if row["ended_at"] is None:
        raise refused(
            "refused",
            f"{name} has not ended: it is {status}. Wait for its end, or abort it, and ask again.",
            code="not_ended",
        )
    asked: Queued = decode_event(row["event"]).data
    if asked.inputs.inline is None:
        raise refused("refused", f"The inputs of {name} are no longer kept. Run its pipeline anew.", code="no_inputs")
    return Ended(str(row["id"]), name, status, asked)


def retry_of(ended: Ended) -> Retry:
    """Raises Refused for what has completed."""
    if ended.status is Status.COMPLETED:
        raise refused(
            "refused",
            f"{ended.name} has completed, so there is nothing to retry. To run it once more: "
            f"POST /v1/executions/{ended.name}/rerun, or exledger rerun {ended.name}",
            code="already_completed",
        )
    return Retry(ended)


def rerun_request(ended: Ended, changes: RerunRequest) -> ExecutionRequest:
    """What it was asked for, with the changes. Raises Refused where both together are too much."""
    asked = ended.asked
    try:
        return ExecutionRequest(
            pipeline=asked.pipeline.name,
            inputs={**asked.inputs.value(), **changes.inputs},
            twin=asked.twin if changes.twin is None else changes.twin,
            mode=changes.mode or asked.mode,
            experiment=_experiment(asked, changes),
            options=_options(asked, changes),
            policy=policy_of(changes.policy, _chosen(asked)),
            properties=_properties(asked, changes),
            labels={**asked.labels, **changes.labels},
            priority=asked.priority if changes.priority is None else changes.priority,
            business_id=asked.business_id,
        )
    except ValidationError as error:
        raise invalid(*field_errors(error.errors(include_input=False, include_url=False))) from error


def _experiment(asked: Queued, changes: RerunRequest) -> str | None:
    """Left behind with the mode that it is for."""
    kept = asked.experiment if (changes.mode or asked.mode) == "experiment" else None
    return kept if changes.experiment is None else changes.experiment


def _options(asked: Queued, changes: RerunRequest) -> OptionsRequest:
    """Another mode brings its own defaults."""
    said = changes.options.model_dump(exclude_none=True)
    before = asked.options.model_dump() if changes.mode in (None, asked.mode) else {}
    return OptionsRequest(**{**before, **said})


def _chosen(asked: Queued) -> PolicyChoice:
    policy = asked.policy
    return PolicyChoice(**{name: getattr(policy, name) for name in PolicyChoice.model_fields})


def _properties(asked: Queued, changes: RerunRequest) -> dict[str, Any] | None:
    """The twin's own values are asked for anew."""
    if changes.properties is not None or asked.properties is None:
        return changes.properties
    kept: dict[str, Any] = asked.properties.value()
    return kept if asked.own_properties is None else {name: kept[name] for name in asked.own_properties}
