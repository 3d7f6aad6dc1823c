"""One `exledger dev` per module, whose tests may kill parts of it, and a client of its API."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.program import Dev


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `dev` is started; a module that has pipelines of its own puts them there."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def dev_settings() -> dict[str, str]:
    """Settings of the services, as variables of the environment."""
    return {}


@pytest.fixture(scope="module")
def dev(app_folder: Path, dev_settings: dict[str, str]) -> Iterator[Dev]:
    with Dev("--port", "0", "--ephemeral", cwd=app_folder, settings=dev_settings) as started:
        started.wait_for("Ready in")
        started.wait_for("Ctrl-C stops everything")
        yield started
        assert started.end(signal.SIGINT) == 0, started.printed
        assert not started.folder.exists()


@pytest.fixture
def api(dev: Dev) -> Iterator[httpx.Client]:
    with dev.client() as client:
        yield client
