"""A job: the same action on many executions. It is opened before any is asked, so a repeat completes the same one."""

from __future__ import annotations

from execution_ledger.messages.commands import OpenJob
from execution_ledger.messages.events import Fact, JobOpened


def open_job(command: OpenJob) -> list[Fact]:
    return [
        JobOpened(
            job_id=command.job_id,
            action=command.action,
            count=command.count,
            targets=command.targets,
            arguments=command.arguments,
            versions=command.versions,
            body_digest=command.body_digest,
            keyed=command.keyed,
        )
    ]
