"""Makes the broker's AOT cache: a throw-away broker shows a JVM what a start takes, a second JVM writes it down.

Both run at the lowest priority while the real stack is at work, take some seconds of processor time and 300 MB at
most, and die with us. Whatever goes wrong, the next start is as quick as this one was.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from ..errors import Transient
from .jars import class_path, ensure_jars
from .kafka import JVM_FLAGS, EmbeddedKafka, aot_cache_of, java
from .process import ChildSpec, last_lines
from .server import StartFailed, run_once

REHEARSAL_S = 120.0
EXIT_S = 60.0
ASSEMBLY_S = 120.0
NICE = ("nice", "-n", "19")
TOPIC = "rehearsal"


class RehearsalFailed(Transient):
    """There is no AOT cache yet; everything works without."""


async def rehearse(cache: Path | None = None) -> None:
    """Returns at once when there is a cache, another process is making it, or none can be kept.

    Cancelling it ends its processes at once. Raises RehearsalFailed, JarsUnavailable.
    """
    jars = await asyncio.to_thread(ensure_jars, cache)
    aot_cache = aot_cache_of(jars)
    if await asyncio.to_thread(aot_cache.find) or not os.access(aot_cache.folder, os.W_OK):
        return
    try:
        with aot_cache.workshop() as folder:
            if folder:
                await asyncio.to_thread(aot_cache.keep, await _made(folder, jars))
    except (StartFailed, KafkaError, OSError) as error:  # a timeout is an OSError, too
        raise RehearsalFailed(
            f"The broker's AOT cache could not be made ({error!r}). Starts take a second longer without; "
            f"the next one tries again. Look whether {aot_cache.folder} has space for 200 MB."
        ) from error


async def _made(folder: Path, jars: Path) -> Path:
    configuration, made, log = folder / "configuration", folder / "cache", folder / "assembly.log"
    async with asyncio.timeout(REHEARSAL_S):
        await Rehearsal(folder, jars, configuration).run()
    flags = ("-XX:AOTMode=create", f"-XX:AOTConfiguration={configuration}", f"-XX:AOTCache={made}")
    argv = [*NICE, java(), *JVM_FLAGS, *flags, "-cp", class_path(jars)]
    if await run_once(ChildSpec("assembly", argv, log_path=log), ASSEMBLY_S) or not made.exists():
        raise StartFailed(last_lines(log))
    return made


class Rehearsal(EmbeddedKafka):
    """A broker for one run, whose JVM writes at its end what it has loaded."""

    grace_s = 0.0  # cut off, it has nothing to keep

    def __init__(self, folder: Path, jars: Path, configuration: Path) -> None:
        super().__init__(folder / "broker", cache=jars.parent)
        self._configuration = configuration

    async def run(self) -> None:
        self.folder.mkdir()
        await self._prepare()
        self._java = (*NICE, java(), *JVM_FLAGS, "-XX:AOTMode=record", f"-XX:AOTConfiguration={self._configuration}")
        child = await self._first_answer()
        try:
            await _a_life_in_brief(self.bootstrap_servers)
            await child.stop(EXIT_S)
        finally:
            await child.stop(self.grace_s)


async def _a_life_in_brief(kafka: str) -> None:
    """What the ledger's services ask of a broker in their first seconds."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=TOPIC) as producer, producer.transaction():
        await producer.send_and_wait(TOPIC, b"", partition=0)
    reader = {"isolation_level": "read_committed", "auto_offset_reset": "none", "enable_auto_commit": False}
    async with AIOKafkaConsumer(bootstrap_servers=kafka, **reader) as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        consumer.seek(TopicPartition(TOPIC, 0), 0)
        await consumer.getone()
