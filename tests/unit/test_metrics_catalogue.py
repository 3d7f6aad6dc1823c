"""The table of metrics says what the services show, and nothing else; and the page is for those who have the token."""

from __future__ import annotations

import hashlib
import random
import re
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from execution_ledger.access import AccessToken
from execution_ledger.answering import reply_to
from execution_ledger.clock import SystemClock, World
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.ledger.service import LedgerService
from execution_ledger.log.memory import MemoryLog
from execution_ledger.messages.definition import Definition
from execution_ledger.metrics import answer_page, new_registry
from execution_ledger.projector.memory import MemoryStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.runner.service import RunnerService
from execution_ledger.settings import Settings
from unit.metrics_stage import catalogue

SHARDS = 4
DIGEST = hashlib.sha256(b"the-token").hexdigest()
SETTINGS = Settings.model_validate({"gateway": {"token_sha256": DIGEST}})


async def _nothing_to_register(definition: Definition, digest: str) -> None: ...


@pytest.fixture
async def registry() -> CollectorRegistry:
    """Of a process that runs all services."""
    world, registry = World(SystemClock(), random.Random(1)), new_registry()
    log = MemoryLog(SHARDS, now_ms=world.clock.now_ms)
    LedgerService(log, world, SETTINGS.ledger, SHARDS, registry)
    DispatcherService(log, world, SETTINGS.dispatcher, SHARDS, 1, registry=registry)
    RunnerService(log, world, SETTINGS.runner, {}, _nothing_to_register, 1, registry=registry)
    ProjectorService(log, MemoryStore(), world, SETTINGS.projector, registry)
    Gateway(log, world, SETTINGS, registry)
    return registry


def test_the_table_names_every_metric_with_its_type_and_meaning(registry: CollectorRegistry) -> None:
    shown = {family.name: (family.type, family.documentation) for family in registry.collect()}
    ours = {name: found for name, found in shown.items() if name.startswith("exledger_")}
    assert {name: (row.type, row.meaning) for name, row in catalogue().items()} == ours


def test_names_say_whose_a_metric_is_and_its_unit(registry: CollectorRegistry) -> None:
    services = "ledger|dispatcher|runner|projector|gateway"
    for name, row in catalogue().items():
        assert re.fullmatch(rf"exledger_({services})_[a-z_]+", name)
        assert not re.search(r"_(ms|milliseconds|total)$", name), row
        assert not {"execution", "id", "token"} & row.labels, "labels have few values"


async def test_the_page_is_for_those_who_have_the_token(registry: CollectorRegistry) -> None:
    async def ask(path: str, token: str) -> HTTPStatus:
        head = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        return (await reply_to(head, AccessToken(SETTINGS.gateway, SystemClock()), answer_page(registry))).status

    assert await ask("/metrics", "the-token") == HTTPStatus.OK
    assert await ask("/metrics", "a-guess") == HTTPStatus.UNAUTHORIZED
    assert await ask("/else", "the-token") == HTTPStatus.NOT_FOUND


def test_what_deploying_needs_to_know_is_next_to_the_table() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "metrics.md").read_text()
    for word in ("EXLEDGER__METRICS__PORT", "EXLEDGER__METRICS__ENABLED", "metrics.json", "credentials_file"):
        assert word in text
