"""What the OpenAPI document says is what happens: generated requests, right and wrong, against the real services.

The log is the one in memory, Postgres and HTTP are real. Nothing is away here, so nothing may be answered with 5xx.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from execution_ledger.access import AccessToken
from execution_ledger.answering import Answering, listen
from execution_ledger.clock import SystemClock, real_world
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.gateway.app import openapi_document
from execution_ledger.gateway.reads.finding import Filters, Listing
from execution_ledger.gateway.service import GatewayService
from execution_ledger.ledger.service import LedgerService
from execution_ledger.lifecycle import Service
from execution_ledger.log.memory import MemoryLog
from execution_ledger.messages.ids import make_id
from execution_ledger.projector.postgres import PostgresStore
from execution_ledger.projector.service import ProjectorService
from execution_ledger.settings import Settings
from unit.gateway_http_stage import check_problem

SHARDS = 4
TOKEN = "a-token"
WAIT_S = 30.0
TOKEN_SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLES_MAX = 10  # of each operation, beside those that cover each field of it
CASES_MIN = 1_000
PIPELINE = {"name": "A", "code": "c"}  # the first name that generators think of


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    life = asyncio.create_task(service.run())
    await asyncio.wait_for(service.ready.wait(), WAIT_S)
    yield
    service.stop()
    await asyncio.wait_for(life, WAIT_S)


@pytest.fixture
async def url(database: str, tmp_path: Path) -> AsyncIterator[str]:
    """Where a gateway answers; streams of events end there at once, with what they would begin with."""
    world = real_world()
    log = MemoryLog(SHARDS, 1, now_ms=world.clock.now_ms)
    settings = Settings.model_validate(
        {
            "gateway": {"token_sha256": TOKEN_SHA256, "port": 0, "read_wait_s": 0.5},
            "postgres": {"dsn": database},
            "objects": {"url": str(tmp_path)},
        }
    )
    token = AccessToken(settings.gateway, SystemClock())
    answering = Answering(listen("127.0.0.1", 0, "EXLEDGER__DISPATCHER"), token)
    gateway = GatewayService(log, world, settings)
    async with AsyncExitStack() as stack:
        for service in (
            LedgerService(log, world, settings.ledger, SHARDS),
            ProjectorService(log, PostgresStore(database), world, settings.projector),
            DispatcherService(log, world, settings.dispatcher, SHARDS, 1, answering),
            gateway,
        ):
            await stack.enter_async_context(running(service))
        gateway.gateway.stopping.set()
        address = f"http://127.0.0.1:{gateway.port}"
        async with httpx.AsyncClient(base_url=address, headers=HEADERS, timeout=WAIT_S, trust_env=False) as http:
            async with asyncio.timeout(WAIT_S):
                while (await http.get("/readyz")).status_code != 200:
                    await gateway.gateway.views.positions.moved.wait()
            assert (await http.put("/v1/pipelines/A", json=PIPELINE)).status_code == 201
        yield address


async def test_every_answer_is_one_that_the_document_names(url: str) -> None:
    """No 5xx; problems in their own media type; bodies, states and headers as they are described."""
    failures = await asyncio.to_thread(lambda: dict(found_by_engine(url)))
    assert not failures, "\n\n".join(failures.values())


async def test_a_read_of_a_position_beyond_the_log_is_refused_and_not_called_late(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, trust_env=False) as http:
        reads = (
            "executions",
            "executions/4097",
            "commands/c",
            "queue",
            "runners",
            f"executions/{make_id(1, 1, 1)}/explain",
        )
        for path in (f"/v1/{read}" for read in reads):
            response = await http.get(path, params={"min_position": "1.999999"})
            assert "leave it out" in check_problem(response, "position-ahead")["detail"]
        await check_no_such_page(http)


async def test_head_is_answered_as_get_is_without_the_body(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=WAIT_S, trust_env=False) as http:
        for path in (path for path, methods in openapi_document()["paths"].items() if "get" in methods):
            path = re.sub("{.*?}", "A", path)
            head, got = await http.head(path), await http.get(path)
            assert (head.status_code, head.content, shape(head)) == (got.status_code, b"", shape(got)), path
        assert (await http.post("/v1/pipelines/A")).headers["Allow"] == "GET, HEAD, PUT"
        check_problem(await http.get("/v1/batches"), "method-not-allowed")
        assert (await http.head("/v1/batches")).status_code == 405


def shape(response: httpx.Response) -> set[str]:
    """Which headers there are. What is in chunks says so only where it has any."""
    return response.headers.keys() - {"transfer-encoding"}


async def check_no_such_page(http: httpx.AsyncClient) -> None:
    """Cursors and times that Postgres could not hold are pages without items, or refused."""
    for query in (
        f"cursor={cursor('9' * 17)}",
        f"cursor={cursor('-' + '9' * 16)}",
        "created_after=0001-01-01T00:00:00%2B23:59",
    ):
        assert (await http.get("/v1/executions", params=query)).status_code in (200, 422)


def cursor(micros: str) -> str:
    """Of a list with no filters, in the order that it has by itself."""
    digest = Listing(Filters()).digest
    return base64.urlsafe_b64encode(f'["{digest}", {micros}, "{make_id(1, 1, 1)}"]'.encode()).decode().rstrip("=")


def found_by_engine(url: str) -> Iterator[tuple[str, str]]:
    """What is wrong, once for each operation and kind of failure."""
    schema = schemathesis.openapi.from_dict(document(), config=config(url))
    cases = 0
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            cases += len(event.recorder.cases)
            for check in chain.from_iterable(event.recorder.checks.values()):
                if failed := check.failure_info:
                    yield f"{event.label} {check.name}", f"{failed.failure}\n{failed.code_sample}"
        elif isinstance(event, events.NonFatalError | events.FatalError):
            yield str(event), str(event)
    assert cases > CASES_MIN


def config(url: str) -> SchemathesisConfig:
    """A request that fits the document may still be refused for what it means, with a problem."""
    return SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "headers": HEADERS,
            "seed": 1,
            "continue-on-failure": True,
            "request-timeout": 65.0,  # more than the longest wait that may be asked for
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "422"]}},
            "generation": {"mode": "all", "max-examples": EXAMPLES_MAX, "database": "none"},
        }
    )


def document() -> dict[str, Any]:
    """Without the bound of a batch: a generator would make batches of ten thousand for its sake."""
    made = copy.deepcopy(openapi_document())
    del made["components"]["schemas"]["BatchRequest"]["properties"]["executions"]["maxItems"]
    return made
