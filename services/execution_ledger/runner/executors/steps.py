"""One attempt of a pipeline of steps: each begins when what it needs has completed, and what comes of it is recorded.

A step's fate follows from its own needs alone. Where one fails, those that need it are skipped, and all others go on to
their ends, so that a rerun finds as much as can be reused. Then the attempt fails, with the first failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from execution_ledger.clock import Spawn
from execution_ledger.messages.inbox import Start
from execution_ledger.messages.parts import Failure
from execution_ledger.messages.payload import Payload
from execution_ledger.messages.reports import ReportStep, Said
from execution_ledger.messages.steps import StepStatus
from execution_ledger.sdk.attempt.capped import cap
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.pipeline import Pipeline
from execution_ledger.sdk.pipelines.source import Function
from execution_ledger.sdk.pipelines.steps import Step, arguments_of

from ..capture import in_step
from ..outcomes import MESSAGE_CHARS_MAX, Completed, Failed, Outcome, Stopped, of_step, of_value, refused
from ..storing import AttemptStore

AT_ONCE_MAX = 8  # steps of one attempt; plain ones take a thread each
BACKOFF_S = 0.5  # before the second try, and twice as long before each that follows …
BACKOFF_MAX_S = 30.0  # … up to this

Judge = Callable[[Any], Outcome]
Call = Callable[[Function, Context, Mapping[str, Any], Judge, AttemptStore], Awaitable[Outcome]]


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[None]
    cancellable: bool = False  # async code that has begun; plain code in a thread looks at its context


class StepsRun:
    """`call` runs a function and judges what it returns; `said` is told of every step. Each try has a store of its own,
    so that one which fails takes nothing from the others.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        start: Start,
        context: Context,
        spawn: Spawn,
        store: Callable[[], AttemptStore],
        call: Call,
        said: Callable[[Said], None],
    ) -> None:
        self._definition = pipeline.definition
        self._start = start
        self._inputs: dict[str, Any] = start.inputs.value()
        self._context = context
        self._spawn = spawn
        self._store = store
        self._call = call
        self._said = said
        self._waiting = {step.name: step for step in pipeline.steps}
        self._running: dict[str, _Running] = {}
        self._given: dict[str, Payload] = {}  # by steps that have completed
        self._failed: dict[str, Failure] = {}
        self._lost: set[str] = set()  # failed or skipped
        self._outputs: dict[str, Any] = {}
        self._last = {*self._waiting} - {need for step in pipeline.steps for need in step.definition.needs}
        self._stopped: Stopped | None = None
        self._fault: Exception | None = None
        self._idle = asyncio.Event()

    async def run(self) -> Outcome:
        """Cancelling it stops the steps and waits for them. Raises what the runner itself does wrong."""
        self._reuse()
        self._begin()
        while not self._idle.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self._idle.wait()
            if not self._idle.is_set():
                self._stop()
        if self._fault:
            raise self._fault
        return self._outcome()

    # --- which step is next ---------------------------------------------------------------------------------------

    def _reuse(self) -> None:
        for name, reused in (self._start.reused or {}).items():
            if self._waiting.pop(name, None):
                self._complete(name, 0, reused.outputs, reused=reused.execution)

    def _begin(self) -> None:
        """What can begin does, in the order of declaration, in which nothing comes before what it needs."""
        for step in list(self._waiting.values()):
            if self._lost.intersection(step.definition.needs):
                del self._waiting[step.name]
                self._lost.add(step.name)
                self._say(step.name, "skipped")
            elif self._may_begin(step):
                del self._waiting[step.name]
                task = self._spawn(self._work(step), f"pipeline {self._start.name}, step {step.name}")
                self._running[step.name] = _Running(task)
        if not self._running:
            self._idle.set()

    def _may_begin(self, step: Step) -> bool:
        has_room = len(self._running) < AT_ONCE_MAX and not self._context.abort_requested
        return has_room and all(need in self._given for need in step.definition.needs)

    def _stop(self) -> None:
        for running in self._running.values():
            if running.cancellable:
                running.task.cancel()

    # --- one step -------------------------------------------------------------------------------------------------

    async def _work(self, step: Step) -> None:
        try:
            tries, outcome = await self._try(step)
        except asyncio.CancelledError:  # between two tries
            tries, outcome = 0, Stopped()
        except Exception as error:  # noqa: BLE001 - of the runner's own making: `run` raises it
            tries, outcome, self._fault = 0, Stopped(), error
        del self._running[step.name]
        self._settle(step.name, tries, outcome)
        self._begin()

    async def _try(self, step: Step) -> tuple[int, Outcome]:
        """How often it was begun, and what came of the last time."""
        if self._context.abort_requested:
            return 0, Stopped()
        self._running[step.name].cancellable = step.is_async
        retries = 0 if self._start.delivery == "at_most_once" else step.definition.retries
        failure: Failure | None = None
        for tries in range(1, retries + 2):
            self._say(step.name, "started", tries, failure=failure, origin=step.origin if tries == 1 else None)
            outcome = await self._once(step, tries)
            if not isinstance(outcome, Failed) or outcome.failure.final or self._context.abort_requested:
                break
            failure = outcome.failure
            if tries <= retries:
                await self._back_off(step, tries)
        return tries, outcome

    async def _once(self, step: Step, tries: int) -> Outcome:
        store = self._store()
        inputs = store.taken_in(self._definition, self._inputs)
        given = {need: store.with_files(self._given[need].value()) for need in step.definition.needs}
        context, judge = self._context.of_step(step.name, tries, store), partial(of_step, self._definition)
        with in_step(step.name):
            return await self._call(step.function, context, arguments_of(step, inputs, given), judge, store)

    async def _back_off(self, step: Step, tries: int) -> None:
        running = self._running[step.name]
        running.cancellable = True
        await asyncio.sleep(min(BACKOFF_S * 2 ** (tries - 1), BACKOFF_MAX_S))
        running.cancellable = step.is_async

    def _settle(self, name: str, tries: int, outcome: Outcome) -> None:
        match outcome:
            case Completed(outputs) if twice := self._outputs.keys() & self._offered(name, outputs):
                self._fail(name, tries, refused("user", f"another step has returned the output {min(twice)!r} already"))
            case Completed(outputs):
                self._complete(name, tries, outputs)
            case Failed():
                self._fail(name, tries, outcome)
            case Stopped(reason, by_itself):
                self._stopped = outcome if by_itself else self._stopped or outcome
                if by_itself:
                    self._context.request_abort(reason)
                    self._stop()

    def _complete(self, name: str, tries: int, outputs: Payload, *, reused: str | None = None) -> None:
        self._given[name] = outputs
        self._outputs |= self._offered(name, outputs)
        self._say(name, "completed", tries, outputs=outputs, reused=reused)

    def _fail(self, name: str, tries: int, failed: Failed) -> None:
        self._failed[name] = failed.failure
        self._lost.add(name)
        self._say(name, "failed", tries, failure=failed.failure)

    def _say(self, name: str, status: StepStatus, tries: int = 0, **more: Any) -> None:
        self._said(Said(ReportStep, {"step": name, "status": status, "tries": tries, **more}))

    # --- all of them ----------------------------------------------------------------------------------------------

    def _offered(self, name: str, outputs: Payload) -> dict[str, Any]:
        """Which outputs of the pipeline a step has returned."""
        value: dict[str, Any] = outputs.value()
        if self._definition.any_outputs:
            return value if name in self._last else {}
        return {output: each for output, each in value.items() if output in self._definition.outputs}

    def _outcome(self) -> Outcome:
        if self._stopped and self._stopped.by_itself:
            return self._stopped
        if self._failed:
            return Failed(_in_step(*next(iter(self._failed.items()))))
        if self._stopped or self._waiting:
            return self._stopped or Stopped()
        return of_value(self._definition, self._outputs)


def _in_step(name: str, failure: Failure) -> Failure:
    message = cap(f"step {name} has failed: {failure.message}", MESSAGE_CHARS_MAX)
    return failure.model_copy(update={"message": message, "step": name})
