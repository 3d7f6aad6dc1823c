"""A process with a real runner, alone with a log in memory. `python -m integration.lonely_runner PIPELINE`.

It starts that pipeline, whose code misbehaves as its name says, and says `running` once it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import threading

from execution_ledger.errors import UnknownVersion
from execution_ledger.logs import configure_logs
from execution_ledger.main import _new_loop, _run
from execution_ledger.mainloop import run_to_end
from execution_ledger.runner.stillness import Stillness
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.pipeline import pipeline
from execution_ledger.settings import RunnerSettings
from unit.runner_stage import Stage


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@pipeline
async def is_deaf(context: Context) -> None:
    say("running")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@pipeline
async def has_deaf_tasks(context: Context) -> None:
    task = asyncio.create_task(is_deaf.function(context))
    await asyncio.wait([task])


@pipeline
async def exits_in_a_task(context: Context) -> None:
    async def leave() -> None:
        sys.exit(3)

    await asyncio.wait([asyncio.create_task(leave())])
    say("running")
    await asyncio.Event().wait()


@pipeline
async def exits_when_cancelled(context: Context) -> None:
    async def leave_late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            sys.exit(3)

    task = asyncio.create_task(leave_late())
    say("running")
    await asyncio.wait([task])


@pipeline
def leaves_a_thread(context: Context) -> None:
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    say("running")


@pipeline
async def leaves_a_busy_executor(context: Context) -> None:
    say("running")
    await asyncio.to_thread(threading.Event().wait)


@pipeline
def closes_its_streams(context: Context) -> None:
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    say("running")
    sys.stdout.close()
    sys.stderr.close()


@pipeline
async def blocks_the_loop(context: Context) -> None:
    threading.Event().wait()


@pipeline
async def blocks_the_loop_in_a_task(context: Context) -> None:
    await asyncio.gather(asyncio.to_thread(threading.Event().wait), blocks_the_loop.function(context))


@pipeline
def keeps_the_interpreter(context: Context) -> None:
    re.fullmatch("(a+)+b", "a" * 100)


PIPELINES = [
    is_deaf,
    has_deaf_tasks,
    exits_in_a_task,
    exits_when_cancelled,
    leaves_a_thread,
    leaves_a_busy_executor,
    closes_its_streams,
]
STAND_STILL = [blocks_the_loop, blocks_the_loop_in_a_task, keeps_the_interpreter]
LEASE_S = 2.0


async def main(name: str, ends: str) -> None:
    chosen = [pipeline for pipeline in PIPELINES + STAND_STILL if pipeline.name == name]
    stage = Stage(*chosen, drain_s=0.1, lease_s=LEASE_S)
    stillness = Stillness(RunnerSettings(lease_s=LEASE_S, heartbeat_s=0.05))
    serving = asyncio.create_task(_run([stage.runner, stillness]))
    await stage.runner.ready.wait()
    await stage.start()
    await serving
    if ends == "badly":
        raise UnknownVersion("the service has failed")


if __name__ == "__main__":
    configure_logs("runner", as_json=True)
    run_to_end(main(sys.argv[1], sys.argv[2]), _new_loop)
