"""The embedded stack: it keeps what it was given, repairs what was damaged, and leaves no process behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from execution_ledger.embedded.folder import ephemeral_folder
from execution_ledger.embedded.kafka import EmbeddedKafka
from execution_ledger.embedded.postgres import EmbeddedPostgres
from execution_ledger.embedded.process import ChildSpec, guard, spawn
from execution_ledger.embedded.server import StartFailed
from execution_ledger.embedded.stack import Stack
from execution_ledger.embedded.supervisor import Supervisor, What

WAIT_S = 20.0
FOREVER = [sys.executable, "-c", "import signal; signal.pause()"]


async def make_topic(kafka: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def append(kafka: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def first_record(kafka: str, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="none", enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        async with asyncio.timeout(WAIT_S):
            value: bytes | None = (await consumer.getone()).value
            return value
    finally:
        await consumer.stop()


async def test_a_broker_keeps_its_records_from_one_start_to_the_next_even_if_a_port_is_taken() -> None:
    with ephemeral_folder() as folder:
        async with EmbeddedKafka(folder / "a, b é") as broker:
            await make_topic(broker.bootstrap_servers, "kept")
            await append(broker.bootstrap_servers, "kept", b"a record")
            before = broker.bootstrap_servers
        with socket.create_server(("127.0.0.1", int(before.split(":")[1]))):
            async with EmbeddedKafka(folder / "a, b é") as broker:
                assert broker.bootstrap_servers != before
                assert await first_record(broker.bootstrap_servers, "kept") == b"a record"


async def test_a_stack_keeps_its_rows_and_addresses_from_one_start_to_the_next() -> None:
    with ephemeral_folder() as folder:
        async with Stack(folder) as stack:
            before = (stack.bootstrap_servers, stack.dsn)
            connection = await asyncpg.connect(stack.dsn)
            await connection.execute("create table kept as select 7 as seven")
            await connection.close()
            pids = stack.pids()
        assert not any(lives(pid) for pid in pids.values())
        async with Stack(folder) as stack:
            assert (stack.bootstrap_servers, stack.dsn) == before
            connection = await asyncpg.connect(stack.dsn)
            assert await connection.fetchval("select seven from kept") == 7
            await connection.close()


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


async def test_postgres_starts_where_its_account_cannot_reach(closed_folder: Path) -> None:
    """As root the cluster then lies elsewhere, and goes when it is removed."""
    server = EmbeddedPostgres(closed_folder / "postgres")
    try:
        async with server:
            connection = await asyncpg.connect(server.dsn)
            assert await connection.fetchval("show data_checksums") == "on"
            await connection.close()
        place = closed_folder / "postgres" / "place"
        home = Path(place.read_text().strip()) if place.exists() else closed_folder / "postgres"
    finally:
        server.remove()
    assert not home.exists()


async def test_postgres_wants_its_password(postgres: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.replace("postgres:", "postgres:not-"))


async def test_a_database_is_there_for_one_test(database: str) -> None:
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("select current_database()") == database.rpartition("/")[2]
    await connection.close()


async def test_a_server_that_is_killed_comes_back_at_its_address() -> None:
    back = asyncio.Event()

    def hear(name: str, what: What, detail: str) -> None:
        if what == "restarting":
            back.set()

    with ephemeral_folder() as folder:
        async with EmbeddedPostgres(folder, on_event=hear) as server:
            connection = await asyncpg.connect(server.dsn)
            closed = asyncio.Event()
            connection.add_termination_listener(lambda _: closed.set())
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            async with asyncio.timeout(WAIT_S):
                await closed.wait()
                await back.wait()
            await server.answered()
            connection = await asyncpg.connect(server.dsn)
            await connection.close()


async def test_a_server_that_cannot_start_shows_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execution_ledger.embedded.kafka.PROPERTIES", "process.roles=nonsense\n")
    with pytest.raises(StartFailed, match=r"(?s)server\.log.*process\.roles"):
        await EmbeddedKafka(tmp_path).start()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


PARENT = """
import asyncio, os, signal, sys
from execution_ledger.embedded.process import ChildSpec, spawn

async def main():
    await spawn(ChildSpec("child", [sys.executable, "-c", "import signal; print('born', flush=True); signal.pause()"]))
    signal.pause()

asyncio.run(main())
"""


async def end_of(stream: asyncio.StreamReader) -> None:
    async with asyncio.timeout(WAIT_S):
        assert await stream.read() == b""


async def test_a_parent_that_is_killed_takes_its_children_along() -> None:
    """The child holds the write end of the pipe that we read: its end is the pipe's end."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout
    assert await parent.stdout.readline() == b"born\n"
    parent.kill()
    await end_of(parent.stdout)
    await parent.wait()


STACK_PARENT = """
import asyncio, json, signal, sys
from pathlib import Path
from execution_ledger.embedded.stack import Stack

async def main():
    async with Stack(Path(sys.argv[1])) as stack:
        print(json.dumps(stack.pids()), flush=True)
        signal.pause()

asyncio.run(main())
"""


async def ended(pidfd: int) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, end.set)
    async with asyncio.timeout(WAIT_S):
        await end.wait()
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open")
async def test_a_stack_whose_parent_is_killed_leaves_nothing_running_and_starts_again() -> None:
    with ephemeral_folder() as folder:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STACK_PARENT, str(folder), stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout
        pids: dict[str, int] = json.loads(await parent.stdout.readline())
        assert set(pids) == {"kafka", "postgres"}
        ends = [os.pidfd_open(pid) for pid in pids.values()]
        parent.kill()
        await parent.communicate()
        async with Stack(folder):  # at once, while they may still be dying
            await asyncio.gather(*map(ended, ends))


async def test_a_guard_ends_the_child_when_its_pipe_ends() -> None:
    """What other systems than Linux do."""
    child = await asyncio.create_subprocess_exec(*FOREVER, start_new_session=True)
    watching = await guard(child.pid, signal.SIGTERM)
    assert watching.stdin
    watching.stdin.close()
    async with asyncio.timeout(WAIT_S):
        assert await child.wait() == -signal.SIGTERM
        await watching.wait()


async def test_a_guard_spares_the_child_when_it_is_let_go() -> None:
    child = await asyncio.create_subprocess_exec(*FOREVER, start_new_session=True)
    await (await guard(child.pid, signal.SIGTERM)).communicate(b"\n")
    child.kill()
    assert await child.wait() == -signal.SIGKILL


async def test_a_child_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    read, write = os.pipe()
    child = await spawn(ChildSpec("deaf", [sys.executable, "-c", deaf], log_path=Path(f"/dev/fd/{write}")))
    os.close(write)
    with os.fdopen(read) as said:
        assert await asyncio.to_thread(said.readline) == "deaf\n"
    assert await child.stop(grace_s=0.05) == -signal.SIGKILL


class Events:
    """What a supervisor told, and a way to wait for it."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[tuple[str, What]] = asyncio.Queue()
        self.all: list[tuple[str, What]] = []

    def __call__(self, name: str, what: What, detail: str) -> None:
        self.all.append((name, what))
        self._told.put_nowait((name, what))

    async def until(self, name: str, what: What) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self._told.get() != (name, what):
                pass


async def test_a_killed_child_is_started_again_and_none_is_left_at_the_end() -> None:
    events = Events()
    async with Supervisor([ChildSpec("one", FOREVER), ChildSpec("two", FOREVER)], events) as supervisor:
        before = supervisor.pids()
        os.kill(before["one"], signal.SIGKILL)
        await events.until("one", "restarting")
        after = supervisor.pids()
        assert after["one"] != before["one"]
        assert after["two"] == before["two"]
    await supervisor.wait()
    assert supervisor.pids() == {}
    assert not any(lives(pid) for pid in (*before.values(), *after.values()))
    assert events.all[-2:] == [("two", "stopped"), ("one", "stopped")]
    await supervisor.stop()


async def test_children_are_out_of_the_terminals_reach() -> None:
    async with Supervisor([ChildSpec("one", FOREVER)]) as supervisor:
        pid = supervisor.pids()["one"]
        assert os.getpgid(pid) == os.getsid(pid) == pid


async def test_a_program_that_does_not_exist_is_an_error_at_the_start_and_the_others_are_stopped() -> None:
    supervisor = Supervisor([ChildSpec("one", FOREVER), ChildSpec("two", ["/absent"])])
    with pytest.raises(FileNotFoundError):
        await supervisor.__aenter__()
    assert supervisor.pids() == {}
