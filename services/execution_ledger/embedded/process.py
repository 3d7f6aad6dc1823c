"""Children that never outlive us, not even after a kill -9, and that a Ctrl-C in the terminal does not reach.

Linux: the kernel signals the child when the thread that started it ends (PR_SET_PDEATHSIG), so children are started
from the main thread. Elsewhere: a small shell beside each child waits on a pipe that only we hold open, and kills the
child's process group when the pipe ends. Each child leads a session of its own, so only we get the terminal's signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pwd import struct_passwd
from typing import BinaryIO

GRACE_S = 10.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
KERNEL_KILLS_ORPHANS = sys.platform == "linux"
GUARD = 'read _ || kill -s "$1" -- "-$0"'  # a line ends it in peace, the pipe's end means that we are gone


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child. Without `env` or `log_path` it gets ours: environment, standard output and error."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    log_path: Path | None = None
    folder: Path | None = None
    account: struct_passwd | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL  # what it gets when we die first


class Child:
    """A running child; whoever holds it awaits `wait` or `stop`, so no zombie stays."""

    def __init__(self, spec: ChildSpec, process: Process, guard: Process | None) -> None:
        self.spec = spec
        self.pid = process.pid
        self._process = process
        self._guard = guard
        self._reaping = asyncio.ensure_future(self._reap())

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        """Its exit code; minus the number of the signal that killed it."""
        return await asyncio.shield(self._reaping)

    async def stop(self, grace_s: float = GRACE_S) -> int:
        """Asks it to end, kills it when the grace is over. Stopping a dead child does nothing."""
        self._signal(self.spec.stop_signal)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
        return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
                self._process.send_signal(number)

    async def _reap(self) -> int:
        code = await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # as a rule it left no children of its own
            os.killpg(self.pid, signal.SIGKILL)
        if self._guard:
            await self._guard.communicate(b"\n")
        return code


async def spawn(spec: ChildSpec) -> Child:
    """Raises OSError when the program cannot be started, RuntimeError off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"Start {spec.name} from the main thread: a child dies with the thread that started it.")
    with contextlib.ExitStack() as files:
        log = files.enter_context(_open_log(spec.log_path)) if spec.log_path else None
        process = await asyncio.create_subprocess_exec(
            *spec.argv,
            env=spec.env,
            cwd=spec.folder,
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_before_exec(spec),
        )
    return Child(spec, process, None if KERNEL_KILLS_ORPHANS else await guard(process.pid, spec.orphan_signal))


async def guard(pid: int, orphan_signal: signal.Signals) -> Process:
    """A shell that outlives us by a moment, and ends the child's process group when our end of its pipe is gone."""
    name = orphan_signal.name.removeprefix("SIG")
    return await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", GUARD, str(pid), name, stdin=PIPE, start_new_session=True
    )


def last_lines(path: Path, count: int = 20, bytes_max: int = 64_000) -> str:
    """The end of a log, for the message of a failure."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - bytes_max))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-count:])


def _open_log(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _before_exec(spec: ChildSpec) -> Callable[[], None]:
    """What the child does between fork and exec; all that it needs is looked up before the fork."""
    parent, account, number = os.getpid(), spec.account, spec.orphan_signal.value
    prctl = ctypes.CDLL(None).prctl if KERNEL_KILLS_ORPHANS else None

    def prepare() -> None:
        if account:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        if prctl:  # after setuid, which clears it
            prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # we died before the kernel knew of the wish
            os._exit(1)

    return prepare
