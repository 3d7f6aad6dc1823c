"""`dev` says that it is ready once everything that its app offers can be run, and not before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.cli.stack.readiness import registered_pipelines
from execution_ledger.cli.stack.services import Place

Answers = dict[str, Any]


@pytest.fixture
def gateway() -> Iterator[tuple[Place, Answers]]:
    """One that answers what the test puts in; 503 to all else."""
    answers: Answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nobody reads it here."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        folder = Path("unused")
        yield Place("127.0.0.1", server.server_port, "", "", "token", "", folder, folder), answers
        server.shutdown()
        thread.join()


def test_registered_is_not_offered_until_its_runner_is_there(gateway: tuple[Place, Answers]) -> None:
    place, answers = gateway
    assert registered_pipelines(place) == []
    answers["/readyz"] = {"status": "ready"}
    answers["/v1/pipelines"] = {"items": [{"name": "first"}]}
    assert registered_pipelines(place) == []
    answers["/v1/runners"] = {"items": [{"state": "silent"}]}
    assert registered_pipelines(place) == []
    answers["/v1/runners"] = {"items": [{"state": "silent"}, {"state": "ready"}]}
    assert registered_pipelines(place) == [{"name": "first"}]
