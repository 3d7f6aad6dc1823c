"""`exledger dev` as a person meets it: real processes, Kafka and Postgres, and what happens when they are killed."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from execution_ledger.embedded.folder import ephemeral_folder

START_S = 90.0  # a machine that is busy with other things
COMMAND_S = 60.0
END_S = 60.0
MEMORY_MB_MAX = 900

SERVICES = {"ledger", "dispatcher", "runner", "projector", "gateway"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EXLEDGER")}


class Program:
    """A running `exledger …`; what it prints is read line by line, within bounds."""

    def __init__(self, *arguments: str, cwd: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "execution_ledger", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            cwd=cwd,
        )
        self.pid = self._process.pid
        self.printed = ""
        self._read = 0  # up to where `wait_for` has looked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.end(signal.SIGKILL)

    def wait_for(self, text: str, within_s: float = START_S) -> None:
        """Until a line holds the text; each line is looked at once. Raises AssertionError with all that was printed."""
        deadline = time.monotonic() + within_s
        while True:
            while (end := self.printed.find("\n", self._read)) >= 0:
                line, self._read = self.printed[self._read : end], end + 1
                if text in line:
                    return
            assert self._more(deadline), f"{text!r} was not printed:\n{self.printed}"

    def end(self, number: signal.Signals) -> int:
        """Sends the signal and returns the exit code; what was printed meanwhile can be read after."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        stdout, _ = self._process.communicate(timeout=END_S)
        self.printed += stdout.decode()
        return self._process.returncode

    def _more(self, deadline: float) -> bool:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        got = os.read(self._process.stdout.fileno(), 65_536).decode() if ready else ""
        self.printed += got
        return bool(got)


class Dev(Program):
    def __init__(self, *options: str, cwd: Path | None = None) -> None:
        super().__init__("dev", *options, cwd=cwd)

    @property
    def folder(self) -> Path:
        return Path(self.field("Token")).parent

    def field(self, name: str) -> str:
        """What the final summary says of one thing."""
        return next(line for line in self.printed.splitlines() if line.startswith(f"  {name} ")).split(maxsplit=1)[1]


def run_to_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "execution_ledger", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, env=ENVIRONMENT, check=False)


def exledger(dev: Dev, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_to_end(*arguments, "--data-dir", str(dev.folder))


def answer(dev: Dev, *arguments: str) -> Any:
    result = exledger(dev, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def lines(dev: Dev, *arguments: str) -> list[dict[str, Any]]:
    result = exledger(dev, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def descendants(pid: int) -> dict[int, str]:
    """All living processes that this one started, and those that they started, with their command lines."""
    found: dict[int, str] = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[int(child)] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
        found |= descendants(int(child))
    return found


def services(dev: Dev) -> dict[str, int]:
    """The pid of each service."""
    children = {command.split()[-1]: pid for pid, command in descendants(dev.pid).items() if " serve " in command}
    return {name: pid for name, pid in children.items() if name in SERVICES}


def wait_until_gone(pids: Mapping[int, str], handles: Mapping[int, int]) -> None:
    poll = select.poll()
    for handle in handles.values():
        poll.register(handle, select.POLLIN)
    left = dict(handles)
    deadline = time.monotonic() + END_S
    while left:
        ended = {handle for handle, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1_000)}
        assert ended, f"still running: {[pids[pid] for pid in left]}"
        for pid in [pid for pid, handle in left.items() if handle in ended]:
            poll.unregister(left.pop(pid))


def open_handles(pids: Mapping[int, str], stack: ExitStack) -> dict[int, int]:
    handles = {pid: os.pidfd_open(pid) for pid in pids}
    for handle in handles.values():
        stack.callback(os.close, handle)
    return handles


def memory_mb(pids: list[int]) -> float:
    """Proportional: what processes share is counted once."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    kilobytes = [int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:")]
    return sum(kilobytes) / 1_000


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with Dev("--port", "0", "--ephemeral", cwd=tmp_path_factory.mktemp("elsewhere")) as started:
        started.wait_for("Ready in")
        started.wait_for("Ctrl-C stops everything")
        yield started
        assert started.end(signal.SIGINT) == 0, started.printed
        assert not started.folder.exists()


def test_a_pipeline_runs_and_its_outputs_come_back(dev: Dev) -> None:
    done = answer(dev, "run", "double", "-i", "n=21", "--wait")
    assert (done["status"], done["outputs"]) == ("completed", {"n": 42})


def test_what_has_run_is_in_the_list_and_has_a_history(dev: Dev) -> None:
    done = answer(dev, "run", "double", "-i", "n=2", "--twin", "pump-7", "--wait")
    [listed] = lines(dev, "list", "--twin", "pump-7")
    assert (listed["id"], listed["status"]) == (done["id"], "completed")
    kinds = [event["type"].split(".")[-2] for event in lines(dev, "events", done["name"])]
    assert kinds == ["queued", "dispatched", "started", "completed"]
    assert answer(dev, "get", str(done["number"]))["id"] == done["id"]


def test_a_failure_tells_its_message(dev: Dev) -> None:
    result = exledger(dev, "run", "fail", "-i", "message=no such pump", "--wait")
    assert result.returncode == 1
    assert "no such pump" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_running_execution_is_aborted_and_the_same_key_finds_it_again(dev: Dev) -> None:
    sleepy = ("run", "sleepy", "-i", "seconds=600", "--key", "one-sleeper")
    begun = answer(dev, *sleepy)
    answer(dev, "abort", begun["name"], "--reason", "never mind")
    again = exledger(dev, *sleepy, "--wait", "--json")
    assert again.returncode == 1, again.stderr
    ended = json.loads(again.stdout)
    assert (ended["id"], ended["status"]) == (begun["id"], "aborted")
    reasons = [event.get("reason") for event in lines(dev, "events", begun["id"])]
    assert "never mind" in reasons


def test_info_names_every_address(dev: Dev) -> None:
    info = answer(dev, "info")
    assert (info["ready"], info["pid"]) == (True, dev.pid)
    assert (info["url"], info["kafka"], info["psql"]) == (dev.field("URL"), dev.field("Kafka"), dev.field("Postgres"))


def test_tail_shows_what_happens_while_it_happens_and_ends_quietly(dev: Dev) -> None:
    with Program("tail", "--data-dir", str(dev.folder)) as tail:
        tail.wait_for("Following")
        name = answer(dev, "run", "double", "-i", "n=1", "--wait")["name"]
        tail.wait_for(name)
        tail.wait_for("execution.completed")
        assert tail.end(signal.SIGINT) == 0
    assert "Traceback" not in tail.printed


def test_a_second_dev_on_the_same_folder_says_who_holds_it(dev: Dev) -> None:
    result = exledger(dev, "dev", "--port", "0")
    assert result.returncode == 1
    assert f"in use by process {dev.pid}" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run_to_end("dev", "--port", port, "--ephemeral")
    assert result.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be used: Address already in use." in result.stderr
    assert "--port 0" in result.stderr


def test_all_processes_together_are_small(dev: Dev) -> None:
    assert memory_mb([dev.pid, *descendants(dev.pid)]) <= MEMORY_MB_MAX


@pytest.mark.parametrize("service", ["runner", "gateway"])
def test_a_killed_service_is_started_again_and_work_goes_on(dev: Dev, service: str) -> None:
    killed = services(dev)[service]
    os.kill(killed, signal.SIGKILL)
    dev.wait_for(f"{service} died (killed by SIGKILL)")
    dev.wait_for(f"{service} restarting")
    assert services(dev)[service] != killed
    assert answer(dev, "run", "double", "-i", "n=4", "--wait")["outputs"] == {"n": 8}


def test_killed_with_9_it_leaves_no_process_and_loses_nothing() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(ephemeral_folder())
        options = ("--port", "0", "--data-dir", str(folder))
        with Dev(*options, cwd=folder) as first:
            first.wait_for("Ctrl-C stops everything")
            before = answer(first, "run", "double", "-i", "n=21", "--wait")
            pids = descendants(first.pid)
            assert set(services(first)) == SERVICES
            handles = open_handles(pids, stack)
            first.end(signal.SIGKILL)
            wait_until_gone(pids, handles)
        with Dev(*options, cwd=folder) as second:
            second.wait_for("Ctrl-C stops everything")
            after = answer(second, "get", before["id"])
            assert after | {"position": ""} == before | {"position": ""}
            pids = descendants(second.pid)
            handles = open_handles(pids, stack)
            assert second.end(signal.SIGTERM) == 0
            wait_until_gone(pids, handles)
            assert exledger(second, "list").returncode == 3
