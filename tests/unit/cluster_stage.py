"""The simulator's cluster without any plan: for tests that tell it themselves what to do and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from execution_ledger.gateway.stream.tail import Tail
from execution_ledger.gateway.writes.commands import CommandSender
from execution_ledger.messages.definition import Definition
from execution_ledger.sdk.pipelines.pipeline import Pipeline
from execution_ledger.settings import Settings
from execution_ledger.trials.simulate import cluster
from execution_ledger.trials.simulate.loop import VirtualLoop, virtual_world
from execution_ledger.trials.simulate.plan import Fault

DECIDE_WAIT_S = 30.0
STOP_S = 60.0


class Cluster(cluster.Cluster):
    """With callers that ask through a gateway of their own, which nothing ever happens to."""

    def __init__(self, loop: VirtualLoop, seed: int, pipelines: Mapping[str, Pipeline], settings: Settings) -> None:
        super().__init__(loop, seed, pipelines, settings)
        self.world = virtual_world(loop, seed)
        self.tail = Tail(self.log)
        self.callers = CommandSender(self.log, self.world, self.tail, DECIDE_WAIT_S)
        self.tail_task = self.world.spawn(self.tail.run(), "tail")

    def trouble(self, kind: str, name: str) -> None:
        """From now on."""
        self.troubles.begin(Fault(at_s=0, kind=kind, target=name))

    async def stop(self, names: Sequence[str] = (), within_s: float = STOP_S) -> None:
        """Raises what any service could not handle."""
        await super().stop(names or list(reversed(self.processes)), within_s)
        for crash in self.crashes:
            raise crash.error

    async def _register(self, definition: Definition, digest: str) -> None:
        await self.callers.catalog.pipeline(definition, actor="runner")
