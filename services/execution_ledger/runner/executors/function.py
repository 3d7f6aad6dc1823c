"""Runs pipelines in this process: async functions as tasks on the loop, plain ones in threads.

Whatever the code returns or raises, SystemExit included, becomes an outcome: it never harms the runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from execution_ledger.clock import Spawn
from execution_ledger.messages.inbox import Start, Token
from execution_ledger.messages.reports import Said
from execution_ledger.sdk.attempt.capped import cap
from execution_ledger.sdk.attempt.context import Aborted, Context
from execution_ledger.sdk.pipelines.pipeline import Pipeline
from execution_ledger.sdk.pipelines.source import Function

from ..capture import Place, carried, inside
from ..captured import Captured
from ..fault import Fault
from ..logs import Logs
from ..outcomes import Failed, Outcome, Stopped, of_error, of_value, refused
from ..storing import AttemptStore
from .steps import Judge, StepsRun
from .threads import PlainCall

CLOSE_S = 1.0
REASON_CHARS_MAX = 2_000


@dataclass(slots=True)
class _Run:
    context: Context
    task: asyncio.Task[None]
    cancellable: bool = False  # an async function, or steps, that have begun
    keeping: asyncio.Task[Said | None] | None = None  # its code is over, its log is being stored


class FunctionExecutor:
    """Tells `stopped` how each run ended, and `said` what its code says, both on the loop."""

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        spawn: Spawn,
        call_plain: PlainCall,
        stopped: Callable[[Token, Outcome], None],
        said: Callable[[Token, Said], None],
        fault: Fault,
        store: Callable[[], AttemptStore],
        logs: Logs,
    ) -> None:
        self._pipelines = pipelines
        self._spawn = spawn
        self._call_plain = call_plain
        self._stopped = stopped
        self._said = said
        self._fault = fault
        self._store = store
        self._logs = logs
        self._runs: dict[Token, _Run] = {}

    def enter(self, start: Start) -> None:
        store = self._store()
        context = self._context(start, store)
        task = self._spawn(self._run(start, context, store), f"pipeline {start.name}")
        self._runs[start.token] = _Run(context, task)

    def stop(self, token: Token, reason: str | None) -> None:
        """Cooperative: the context says so, and an async function gets a CancelledError."""
        if run := self._runs.get(token):
            run.context.request_abort(reason)
            if run.keeping:  # an end that is asked for waits for no log
                run.keeping.cancel()
            elif run.cancellable:
                run.task.cancel()

    async def close(self) -> None:
        """Stops what still runs and waits a moment for it; what ignores that is left behind."""
        tasks = [run.task for run in self._runs.values()]
        for run in self._runs.values():
            run.context.request_abort("the runner ends")
            run.task.cancel()
            if run.keeping:
                run.keeping.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    async def _run(self, start: Start, context: Context, store: AttemptStore) -> None:
        try:
            captured = self._logs.begin(start.token)
            with inside(Place(captured)):
                outcome = await self._outcome(start, context, store)
            await self._keep_log(start.token, captured)
            del self._runs[start.token]
            self._stopped(start.token, outcome)
        except Exception as error:  # noqa: BLE001 - of the runner's own making: the fault raises it
            self._fault.report(error)
        finally:
            if folder := context.left_folder():
                self._spawn(asyncio.to_thread(folder.remove), "removing the folder of an attempt")

    async def _keep_log(self, token: Token, captured: Captured) -> None:
        """Before the end is reported: nothing of an execution can be recorded behind its end."""
        if captured.silent:
            captured.close()
            return
        keeping = self._runs[token].keeping = self._spawn(self._logs.end(captured), "the log of an attempt")
        await asyncio.wait([keeping])
        if not keeping.cancelled() and (said := keeping.result()):
            self._said(token, said)

    async def _outcome(self, start: Start, context: Context, store: AttemptStore) -> Outcome:
        pipeline = self._pipelines.get(start.pipeline.name)
        if pipeline is None or pipeline.digest != start.pipeline.digest:
            return refused(
                "not_offered", f"This runner has no version {start.pipeline.version} of {start.pipeline.name}."
            )
        if context.abort_requested:
            return Stopped()
        self._runs[start.token].cancellable = pipeline.is_async or bool(pipeline.steps)
        if pipeline.steps:
            said = partial(self._said, start.token)
            return await StepsRun(pipeline, start, context, self._spawn, self._store, self._call, said).run()
        given = store.taken_in(pipeline.definition, start.inputs.value())
        return await self._call(pipeline.function, context, given, partial(of_value, pipeline.definition), store)

    async def _call(
        self, function: Function, context: Context, given: Mapping[str, Any], judge: Judge, store: AttemptStore
    ) -> Outcome:
        if inspect.iscoroutinefunction(function):
            return await _call_async(function, context, given, judge, store)
        return await self._call_plain(carried(lambda: _call(function, context, given, judge, store)))

    def _context(self, start: Start, store: AttemptStore) -> Context:
        return Context(
            execution_id=start.token.execution_id,
            name=start.name,
            attempt=start.token.attempt,
            mode=start.mode,
            options=start.options,
            said=self._hearer(start.token),
            twin=start.twin,
            experiment=start.experiment,
            properties=start.properties.value() if start.properties else None,
            store=store,
            checkpoint=start.checkpoint,
        )

    def _hearer(self, token: Token) -> Callable[[Said], None]:
        loop, home = asyncio.get_running_loop(), threading.get_ident()

        def heard(said: Said) -> None:
            if threading.get_ident() == home:
                self._said(token, said)
                return
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any longer
                loop.call_soon_threadsafe(self._said, token, said)

        return heard


async def _call_async(
    function: Function, context: Context, given: Mapping[str, Any], judge: Judge, store: AttemptStore
) -> Outcome:
    try:
        value = await store.given_back(await function(context, **given))
        await store.settle()
        return judge(value)
    except BaseException as error:
        if isinstance(error, GeneratorExit) and not _in_a_loop():  # it is gone, and nobody waits for an outcome
            raise
        outcome = _of_raised(error, context)
    return await _rested(outcome, store)


async def _rested(outcome: Outcome, store: AttemptStore) -> Outcome:
    """The outcome stands, whatever becomes of what it left beside it."""
    with contextlib.suppress(asyncio.CancelledError):
        if isinstance(outcome, Failed):
            await store.rest()
    store.stop()
    return outcome


def _in_a_loop() -> bool:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


def _call(function: Function, context: Context, given: Mapping[str, Any], judge: Judge, store: AttemptStore) -> Outcome:
    try:
        return judge(store.given_back_now(function(context, **given)))
    except BaseException as error:  # noqa: BLE001 - as above, and a thread has nobody to raise to
        return _of_raised(error, context)


def _of_raised(error: BaseException, context: Context) -> Outcome:
    aborted = _aborted_in(error)
    if aborted and (aborted.by_itself or context.abort_requested):
        reason = None if aborted.reason is None else cap(aborted.reason, REASON_CHARS_MAX)
        return Stopped(reason, aborted.by_itself)
    if isinstance(error, asyncio.CancelledError) and context.abort_requested:
        return Stopped()
    return of_error(error, __file__)


def _aborted_in(error: BaseException) -> Aborted | None:
    """Alone, or in a group of nothing else, as a task group raises it."""
    with contextlib.suppress(Exception):  # a group may be deeper than can be walked, or a class of the user's
        while isinstance(error, BaseExceptionGroup) and error.split(Aborted)[1] is None:
            error = error.exceptions[0]
    return error if isinstance(error, Aborted) else None
