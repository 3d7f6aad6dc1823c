"""Completing jobs, beside everything else that a gateway does: those opened here, those that somebody asks for, and at
the start those of the last day that another gateway has left.

Whether a target was asked is read from the views, which include all that this gateway knows of the log; what is under
way meanwhile, its ledger recognizes. So two gateways at the same job do no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from execution_ledger.errors import LedgerError, Transient
from execution_ledger.messages.events import decode_event

from .jobs import Job, JobSender, Past, job_of

AT_ONCE = 3  # jobs under way in one gateway
WAITING_MAX = 1_000  # what does not find a place here is taken up when somebody asks for it
TRIES_MAX = 12  # some minutes in all; then it waits until somebody asks for it
PAUSE_FIRST_S = 0.5  # then twice as long each time
PAUSE_MAX_S = 30.0

LOG = structlog.get_logger("gateway.jobs")


class JobViews(Past, Protocol):
    """What the views say of jobs, up to the end of the log as it is known here. Raises Away where they are away."""

    async def job(self, job_id: str) -> bytes | None:
        """The event that opened it."""
        ...

    async def asked(self, job_id: str) -> Collection[str]:
        """The ids of its commands that have left a trace."""
        ...

    async def open_jobs(self) -> Sequence[str]:
        """Those of the last day of which not all was asked."""
        ...


class JobWork:
    def __init__(self, sender: JobSender, views: JobViews) -> None:
        self._sender = sender
        self._views = views
        self._waiting: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)
        self._known: set[str] = set()  # waiting or under way

    def take(self, job_id: str) -> None:
        """Sees to it that it is completed, unless that is being done already."""
        if job_id not in self._known and not self._waiting.full():
            self._known.add(job_id)
            self._waiting.put_nowait(job_id)

    async def run(self) -> None:
        """Only cancellation ends it."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._work())
            await self._find_open()

    async def _find_open(self) -> None:
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                for job_id in await self._views.open_jobs():
                    self.take(job_id)
                return
            except Transient as error:
                LOG.info("which jobs are open is asked again", error=str(error))
            except LedgerError as error:  # far too many of them; this gateway serves all the same
                LOG.warning("jobs that others have left go on when somebody asks for them", error=str(error))
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _work(self) -> None:
        while True:
            job_id = await self._waiting.get()
            try:
                await self._complete(job_id)
            except Exception:
                LOG.exception("this job stands still until somebody asks for it", job=job_id)
            finally:
                self._known.discard(job_id)

    async def _complete(self, job_id: str) -> None:
        """Raises what trying again cannot mend, and the last failure of all tries."""
        pause_s = PAUSE_FIRST_S
        for tries in range(1, TRIES_MAX + 1):
            try:
                return await self._once(job_id)
            except Transient as error:
                if tries == TRIES_MAX:
                    raise
                LOG.info("a job goes on later", job=job_id, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return None

    async def _once(self, job_id: str) -> None:
        raw = await self._views.job(job_id)
        if raw is not None:
            job: Job = job_of(decode_event(raw))
            await self._sender.complete(job, await self._views.asked(job_id), self._views)
