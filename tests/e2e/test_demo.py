"""`exledger demo` as a new user meets it: a real process that shows, proves, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.program import Program, descendants, open_handles, wait_until_gone

DEMO_S = 60.0


class Demo(Program):
    """Shown up to the moment when the ledger is ready; `pids` are its processes."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__("demo", cwd=folder)
        stack.enter_context(self)
        self.wait_for("Ready after")
        self.pids = descendants(self.pid)
        self._handles = open_handles(self.pids, stack)

    @property
    def folder(self) -> Path:
        return Path(re.findall(r"Starting in (\S+) ", self.printed)[0])

    def end_by_itself(self) -> int:
        stdout, _ = self._process.communicate(timeout=DEMO_S)
        self.printed += stdout.decode()
        return self._process.returncode

    def check_gone(self) -> None:
        wait_until_gone(self.pids, self._handles)
        assert not self.folder.exists()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ExitStack() as stack:
        demo = Demo(stack, tmp_path_factory.mktemp("new-user"))
        assert demo.pids
        assert demo.end_by_itself() == 0, demo.printed
        demo.check_gone()
        yield demo.printed


def rows(shown: str, pipeline: str, status: str) -> list[str]:
    return re.findall(rf"^{pipeline}-\w+ +\w+ +{status} .*$", shown, re.MULTILINE)


def test_every_way_to_end_is_in_its_table(shown: str) -> None:
    assert len(rows(shown, "trend", "completed")) == 3
    assert len(rows(shown, "best_month", "completed")) == 2
    assert len(rows(shown, "interval", "completed")) == 2
    assert "ValueError: gapminder has no country 'Atlantis'" in rows(shown, "trend", "failed")[0]
    assert "by admin: one less will do" in rows(shown, "interval", "aborted")[0]
    assert "by admin: seen enough" in rows(shown, "watch", "aborted")[0]


def test_the_one_that_waits_is_explained(shown: str) -> None:
    assert re.search(r"The limit 1 of interval is taken by interval-\w+\.", shown)


def test_a_history_is_shown_and_its_chain_holds(shown: str) -> None:
    kinds = re.findall(r"^\d\d:\d\d:\d\d\.\d{3} +(\w+) .* ✓ [0-9a-f]{8}", shown, re.MULTILINE)
    assert kinds == ["queued", "dispatched", "started", "warned", "warned", "abort_requested", "aborted"]
    assert "chain ✓" in shown


def test_the_promises_are_checked(shown: str) -> None:
    assert re.search(r"No breach in \d+ events of 10 executions", shown)
    assert "✗" not in shown


def test_what_goes_into_a_file_has_no_control_codes(shown: str) -> None:
    assert "\x1b" not in shown
    assert shown.count("EXECUTION ") == 1


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    with ExitStack() as stack:
        demo = Demo(stack, tmp_path)
        assert demo.end(signal.SIGINT) == 130, demo.printed
        assert "Traceback" not in demo.printed
        demo.check_gone()
