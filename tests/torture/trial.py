"""The overload trial: far more is asked for than can be decided, and everything else has to go on meanwhile.

What it does, in order: it measures what can be decided calmly; it begins executions that run through the whole trial,
and others that wait to be aborted; it overdrives the gateway from several processes; it looks how soon all is over;
and it holds every answer that was given against the log.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from e2e.program import ENVIRONMENT, Dev, exledger
from torture.evidence import Evidence, read_answers, read_evidence
from torture.load import PIPELINE, Counts, Plan
from torture.probes import Latencies, ask_once, gauges, is_empty, probe, sample_memory, until
from torture.traffic import ANSWER_S, Server

LOAD = Path(__file__).with_name("load.py")
PIPELINES = f"""
import asyncio
from execution_ledger import Context, pipeline

@pipeline(inputs={{"n": "number"}}, outputs={{}})
async def {PIPELINE}(ctx: Context, n: float) -> dict[str, object]:
    return {{}}

@pipeline(inputs={{"seconds": "number"}}, outputs={{}})
async def running(ctx: Context, seconds: float) -> dict[str, object]:
    await asyncio.sleep(seconds)
    return {{}}

@pipeline(inputs={{}}, outputs={{}}, limit=10)
async def held(ctx: Context) -> dict[str, object]:
    await asyncio.sleep(3_600)
    return {{}}
"""

PROCESSES = 2
UNDECIDED, LAG = ("exledger_gateway_undecided_commands{",), ("exledger_gateway_views_lag_events{",)
CALM_S = 5.0
NO_PAUSE = 100_000  # requests a second: each as soon as the one before is answered
CALM_CALLERS = 32
CALLERS = 150  # of single requests, per process
BATCH_CALLERS = 4
SINGLES_PER_S = 1_000
OVERDRIVE = 12.0  # executions asked for, per one that can be decided; singles first, batches for the rest
ABORT_EVERY_S = READ_EVERY_S = 0.1
RUNNING = 20
SETTLE_S_MAX = 60.0  # until the backlog of decisions and views is gone …
END_S_MAX = 240.0  # … and until everything that was accepted has ended
WARM = 0.25  # of the load is over when memory counts as warm


@dataclass
class Outcome:
    seconds: float
    calm_per_s: float
    counts: list[Counts]
    aborts: Latencies
    reads: Latencies
    memory: dict[str, list[float]]
    undecided_at_end: float  # commands, when the load ended
    settled_s: float  # from the load's end until nothing was undecided and the views held everything …
    ended_s: float  # … and until everything that was accepted had ended
    evidence: Evidence
    verify_says: str  # empty when every promise holds

    def total(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.counts)

    @property
    def asked(self) -> int:
        return self.total("singles") + self.total("batched")

    @property
    def accepted(self) -> int:
        return self.total("singles_accepted") + self.total("batched_accepted")

    @property
    def statuses(self) -> Counter[str]:
        return sum((Counter(one.statuses) for one in self.counts), Counter())

    @property
    def unhelpful(self) -> list[str]:
        return [what for one in self.counts for what in one.unhelpful]

    def warm_mb(self, name: str) -> float:
        return self._warm(name)[0]

    def growth_mb(self, name: str) -> float:
        """From when it was warm to the highest after that."""
        return max(self._warm(name)) - self.warm_mb(name)

    def _warm(self, name: str) -> list[float]:
        samples = [sample for sample in self.memory[name] if not math.isnan(sample)]
        return samples[int(len(samples) * WARM) :]


@contextmanager
def started(folder: Path) -> Iterator[Dev]:
    """A ledger that serves the trial's pipelines; it ends in order."""
    (folder / "pipelines.py").write_text(PIPELINES)
    with Dev("--port", "0", "--ephemeral", cwd=folder) as dev:
        dev.wait_for("Ctrl-C stops everything")
        yield dev
        assert dev.end(signal.SIGINT) == 0, dev.printed


async def overload(dev: Dev, folder: Path, seconds: float) -> Outcome:
    server = Server(dev.field("URL"), (dev.folder / "token").read_text().strip())
    calm_per_s = await _decided_calmly(server, folder)
    running = await _batch(server, "running", [{"seconds": (i + 1) * seconds / RUNNING} for i in range(RUNNING)])
    held = await _batch(server, "held", [{}] * int(seconds / ABORT_EVERY_S))

    end_s = asyncio.get_running_loop().time() + seconds
    async with asyncio.TaskGroup() as meanwhile:
        plans = [_plan(server, folder, f"load-{number}", seconds, calm_per_s) for number in range(PROCESSES)]
        loads = [meanwhile.create_task(_load(plan)) for plan in plans]
        aborts = meanwhile.create_task(probe(server, [_abort(server, one) for one in held], ABORT_EVERY_S, end_s))
        reads = meanwhile.create_task(probe(server, _reads(server, running, seconds), READ_EVERY_S, end_s))
        memory = meanwhile.create_task(sample_memory(dev, end_s))

    undecided = sum(await gauges(server, UNDECIDED))
    settled_s = await until(lambda: _is_settled(server), SETTLE_S_MAX)
    ended_s = settled_s + await until(lambda: _is_done(server), END_S_MAX)
    for one in held[len(aborts.result().seconds) :]:
        await ask_once(server, _abort(server, one))
    return Outcome(
        seconds,
        calm_per_s,
        [load.result() for load in loads],
        aborts.result(),
        reads.result(),
        memory.result(),
        undecided,
        settled_s,
        ended_s,
        await read_evidence(dev, read_answers(folder), seconds, running),
        await asyncio.to_thread(_verify, dev, folder),
    )


async def _decided_calmly(server: Server, folder: Path) -> float:
    """What can be decided in a second when nothing is refused; the broker's JVM gets warm first."""
    for name in ("warm", "calm"):
        record = str(folder / f"{name}.jsonl")
        calm = await _load(Plan(server.url, server.token, name, CALM_S, record, NO_PAUSE, CALM_CALLERS, 0))
    return calm.singles_accepted / CALM_S


def _abort(server: Server, execution_id: str) -> bytes:
    return server.post(f"/v1/executions/{execution_id}/abort", b"{}")


def _reads(server: Server, known: list[str], seconds: float) -> list[bytes]:
    return [server.get(f"/v1/executions/{known[i % len(known)]}") for i in range(int(seconds / READ_EVERY_S))]


def _plan(server: Server, folder: Path, name: str, seconds: float, calm_per_s: float) -> Plan:
    record, decidable = str(folder / f"{name}.jsonl"), calm_per_s / PROCESSES
    singles = SINGLES_PER_S // PROCESSES
    return Plan(server.url, server.token, name, seconds, record, singles, CALLERS, BATCH_CALLERS, decidable, OVERDRIVE)


async def _load(plan: Plan) -> Counts:
    """In a process of its own, bounded by what it has to do and the time that one answer may take."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, LOAD, stdin=PIPE, stdout=PIPE, env={**ENVIRONMENT, "PYTHONPATH": str(LOAD.parent.parent)}
    )
    try:
        async with asyncio.timeout(plan.seconds + 3 * ANSWER_S):
            printed, _ = await process.communicate(json.dumps(asdict(plan)).encode() + b"\n")
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return Counts(**json.loads(printed))


async def _batch(server: Server, pipeline: str, inputs: list[dict[str, Any]]) -> list[str]:
    body = {"executions": [{"pipeline": pipeline, "inputs": one, "priority": 10} for one in inputs]}
    reply = await ask_once(server, server.post("/v1/batches", json.dumps(body).encode()))
    assert reply.status == 201, reply
    return [child["id"] for child in json.loads(reply.body)["executions"]]


async def _is_settled(server: Server) -> bool:
    return not any(await gauges(server, UNDECIDED + LAG))


async def _is_done(server: Server) -> bool:
    """Nothing of the load or of what ran beside it is left."""
    left = [f"/v1/executions?limit=1&pipeline={name}&status=queued&status=started" for name in (PIPELINE, "running")]
    return all([await is_empty(server, path) for path in left])


def _verify(dev: Dev, folder: Path) -> str:
    """Empty when all promises hold, over the log, the views and every answer; else what the check says."""
    whole = folder / "answers.jsonl"
    whole.write_text("".join(path.read_text() for path in folder.glob("*.jsonl")))
    result = exledger(dev, "verify", "--answers", str(whole))
    return "" if result.returncode == 0 else result.stdout + result.stderr
