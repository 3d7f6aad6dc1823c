"""Again: a new execution made from one that has ended, all the same (a retry) or with changes (a rerun). Pure.

What it was asked for is taken from its first event, not from columns: the very payloads, and whatever a later release
adds to that event, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from execution_ledger.messages.commands import Submit
from execution_ledger.messages.events import Queued, StepChanged, decode_event
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import Link, PipelineRef, PolicyChoice, Status
from execution_ledger.messages.payload import Payload
from execution_ledger.messages.steps import REUSED_BYTES_MAX, Reusable, Reused

from ..edge.problems import FieldError, away, field_errors, invalid, refused
from .checking import Stamp
from .requests import RAN_WITH, BadEnd, ExecutionRequest, OptionsRequest, RerunRequest, policy_of

# What a new execution does not share with the one that it was made from.
_ITS_OWN = frozenset({"origin", "link", "body_digest", "keyed", "if_live"})
_KEPT = (Submit.model_fields.keys() & Queued.model_fields.keys()) - _ITS_OWN


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended, and what it was asked for. `given`: by steps of its last attempt, where asked."""

    id: str
    name: str
    status: Status
    asked: Queued
    given: Reusable = field(default_factory=dict)

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


def check_over(batch_id: str, row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Raises Refused for a batch that is unknown or not over: a repeat has to find the very same executions."""
    if row is None:
        raise refused("unknown-batch", f"No batch {batch_id} is known.")
    if row["live"]:
        raise refused(
            "refused",
            f"{row['live']} of {row['count']} executions of batch {batch_id} have not ended. Wait for them, or abort "
            "them, and ask again; single ones can be retried meanwhile.",
            code="not_ended",
        )
    if row["undecided"]:
        raise refused(
            "refused",
            f"{row['undecided']} of {row['count']} executions of batch {batch_id} are not there yet. Send it again "
            "with its key, which completes it, and then ask again; or retry those that are there by a job: "
            f"exledger jobs run retry --status failed --batch {batch_id}",
            code="not_complete",
        )
    return row


def in_order(batch_id: str, ended: Sequence[Ended], row: Mapping[str, Any], statuses: Sequence[BadEnd]) -> list[Ended]:
    """As the batch has them. Raises Refused for none, and Away where the views were set back after `row` was read."""
    if not (count := sum(row[status] for status in statuses)):
        ends = " or ".join(statuses)
        raise refused("refused", f"No execution of batch {batch_id} has ended as {ends}.", code="none_to_retry")
    if len(ended) != count:
        raise away("views-behind", f"The views hold {len(ended)} of the {count} executions to retry. Ask again.")
    return sorted(ended, key=lambda each: each.place)


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


def given_by(events: Iterable[bytes]) -> Reusable:
    """The outputs of steps, of the events in which they completed, or took over what they gave before."""
    return dict(map(_given, events))


def _given(event: bytes) -> tuple[str, Reused]:
    read = decode_event(event)
    fact: StepChanged = read.data
    return fact.step, Reused(execution=fact.reused or read.subject, outputs=fact.outputs)


def reused_of(ended: Ended, changes: RerunRequest, newest: PipelineRef) -> Reusable:
    """What a rerun from the first failed step takes over. Raises Refused where that would mix what does not belong."""
    whole = f"Run all of it again: exledger rerun {ended.name}"
    ran, size = ended.asked.pipeline, sum(each.outputs.size for each in ended.given.values())
    if ended.status is Status.COMPLETED:
        raise refused("refused", f"{ended.name} has completed: none of its steps is left. {whole}", code="none_failed")
    if changed := changes.of_what_steps_ran_with():
        raise invalid(*(FieldError(name, f"{RAN_WITH}. {whole}, without --from-failed") for name in changed))
    if newest.version != ran.version:
        what = f"{ended.name} ran version {ran.version} of {ran.name}, which is now at version {newest.version}"
        raise refused(
            "refused", f"{what}: its steps' outputs may no longer fit. {whole} --newest", code="version_changed"
        )
    if not ended.given:
        raise refused("refused", f"No step of {ended.name} has completed. {whole}", code="none_completed")
    if size > REUSED_BYTES_MAX:
        what = f"The completed steps of {ended.name} gave {size:,} bytes; at most {REUSED_BYTES_MAX:,} are taken over"
        raise refused("refused", f"{what}. {whole}", code="outputs_too_large")
    return ended.given


def check_properties(ended: Ended, now: Payload | None) -> None:
    """Raises Refused where the twin's values are no longer those that its completed steps ran with."""
    before = ended.asked.properties
    if (before and before.sha256) != (now and now.sha256):
        raise refused(
            "refused",
            f"The values of {ended.asked.twin} have changed since {ended.name} ran with them. Run all of it again: "
            f"exledger rerun {ended.name}",
            code="properties_changed",
        )


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
