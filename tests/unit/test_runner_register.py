"""Registering over HTTP, against an application of our own in the same process."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from execution_ledger.errors import BadRequest, BadSettings, LedgerError, Unavailable
from execution_ledger.runner.register import register_over_http
from execution_ledger.sdk.pipelines.pipeline import pipeline


@pipeline
def train(context: object, n: int = 1) -> None: ...


async def test_the_definition_arrives_as_the_very_text_that_its_digest_covers() -> None:
    app = FastAPI()

    @app.put("/v1/pipelines/{name}")
    async def put(name: str, request: Request) -> Response:
        digest = hashlib.sha256(await request.body()).hexdigest()
        known = (name, digest, request.headers["authorization"]) == ("train", train.digest, "Bearer secret")
        return Response(status_code=201 if known else 400)

    register = register_over_http("http://gateway/", "secret", httpx.ASGITransport(app))
    await register(train.definition, train.digest)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadRequest), (401, BadRequest), (429, Unavailable), (503, Unavailable)],
)
@pytest.mark.parametrize("body", ['{"detail": "the gateway\'s words"}', "the gateway's words"])
async def test_a_refusal_says_whether_to_try_again_in_the_gateways_words(
    status: int, error: type[LedgerError], body: str
) -> None:
    app = FastAPI()

    @app.put("/v1/pipelines/{name}")
    async def put(name: str) -> Response:
        return Response(body, status)

    register = register_over_http("http://gateway", "secret", httpx.ASGITransport(app))
    with pytest.raises(error, match="the gateway's words"):
        await register(train.definition, train.digest)


async def test_a_gateway_that_is_not_there_may_come_back() -> None:
    with pytest.raises(Unavailable):
        await register_over_http("http://127.0.0.1:1", "secret")(train.definition, train.digest)


@pytest.mark.parametrize("url", ["gateway:80", "ftp://gateway", "http://gate way:x"])
async def test_a_url_that_cannot_be_used_is_a_setting_to_change(url: str) -> None:
    with pytest.raises(BadSettings, match="cannot be used"):
        await register_over_http(url, "secret")(train.definition, train.digest)
