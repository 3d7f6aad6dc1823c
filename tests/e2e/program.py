"""`exledger …` as a running program, and what the operating system knows of its processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx

START_S = 90.0  # a machine that is busy with other things
COMMAND_S = 60.0
END_S = 60.0

STARTING = "urn:execution-ledger:problem:starting"

SERVICES = {"ledger", "dispatcher", "runner", "projector", "gateway"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EXLEDGER")}


class Program:
    """A running `exledger …`; what it prints is read line by line, within bounds."""

    def __init__(self, *arguments: str, cwd: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "execution_ledger", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **(settings or {})},
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

    def printed_by_now(self) -> str:
        while self._more(time.monotonic()):
            pass
        return self.printed

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


class AsksAgain(httpx.HTTPTransport):
    """A gateway that is starting names the seconds after which to ask again."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + START_S
        while True:
            answer = super().handle_request(request)
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            problem = json.loads(answer.read())
            if problem["type"] != STARTING:
                return answer
            threading.Event().wait(int(answer.headers["Retry-After"]))


class Dev(Program):
    def __init__(self, *options: str, cwd: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__("dev", *options, cwd=cwd, settings=settings)

    @property
    def folder(self) -> Path:
        return Path(self.field("Token")).parent

    def field(self, name: str) -> str:
        """What the final summary says of one thing."""
        return next(line for line in self.printed.splitlines() if line.startswith(f"  {name} ")).split(maxsplit=1)[1]

    def client(self, retries: int = 20) -> httpx.Client:
        """Connects again while a killed gateway starts anew, with pauses that double from half a second on, and asks
        again while it says so."""
        headers = {"Authorization": f"Bearer {(self.folder / 'token').read_text().strip()}"}
        transport = AsksAgain(retries=retries)
        return httpx.Client(base_url=self.field("URL"), headers=headers, timeout=60, transport=transport)


def decided(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Asks again, which needs a key, while the ledger is away: the gateway holds each question for a while."""
    for _ in range(20):
        answer = ask()
        if answer.status_code != 202:
            return answer
    raise AssertionError(answer.text)


def run_to_end(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "execution_ledger", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_S, env=ENVIRONMENT, check=False, cwd=cwd
    )


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
    for child in _of_process(f"{pid}/task/{pid}/children").split():
        found[int(child)] = _of_process(f"{child}/cmdline").replace("\0", " ")
        found |= descendants(int(child))
    return found


def _of_process(path: str) -> str:
    """Nothing of one that ended a moment ago."""
    try:
        return Path("/proc", path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


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
