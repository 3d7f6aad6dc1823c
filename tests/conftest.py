"""One real broker and one real Postgres for the whole run, started when the first test asks for them."""

from __future__ import annotations

import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from execution_ledger.embedded.folder import ephemeral_folder
from execution_ledger.embedded.kafka import EmbeddedKafka
from execution_ledger.embedded.postgres import EmbeddedPostgres

# Whoever runs the tests in the background has Ctrl-C ignored, and so would have all that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    with ephemeral_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
async def kafka(stack_folder: Path) -> AsyncIterator[str]:
    """The bootstrap address of the run's broker. Tests share it: each makes topics with a prefix of its own."""
    async with EmbeddedKafka(stack_folder / "kafka") as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
async def postgres(stack_folder: Path) -> AsyncIterator[str]:
    """The superuser's dsn of the run's Postgres."""
    server = EmbeddedPostgres(stack_folder / "postgres")
    async with server:
        yield server.dsn
    server.remove()


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[str]:
    """The dsn of a database that exists for one test."""
    name = f"test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(postgres)
    try:
        await admin.execute(f"create database {name}")
        yield f"{postgres.rpartition('/')[0]}/{name}"
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()
