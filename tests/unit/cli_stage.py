"""A stage for commands: a ledger that answers what a test tells it to."""

from __future__ import annotations

import httpx
import pytest

from execution_ledger.sdk.client import http
from execution_ledger.sdk.client.address import Address
from unit.test_cli_commands import FakeLedger


def fake_ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    """Every command of this test talks to it."""
    fake = FakeLedger()

    def open_http(address: Address) -> httpx.Client:
        return httpx.Client(base_url=address.url, transport=httpx.MockTransport(fake.handle))

    monkeypatch.setattr(http, "open_http", open_http)
    monkeypatch.setenv("EXLEDGER_URL", "http://ledger")
    return fake
