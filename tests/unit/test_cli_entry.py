"""Where `exledger` begins, before there are any commands."""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import ModuleType

import pytest

from execution_ledger.__main__ import INTERRUPTED, main
from unit.test_cli_commands import exledger


class Interrupted(ModuleType):
    """A module during whose loading somebody presses Ctrl-C."""

    @property
    def app(self) -> None:
        raise KeyboardInterrupt


def test_who_leaves_while_commands_are_being_loaded_sees_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "execution_ledger.cli", Interrupted("execution_ledger.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == INTERRUPTED


def test_the_version_is_told_without_a_ledger() -> None:
    assert exledger("--version").stdout == f"exledger {version('execution-ledger')}\n"
