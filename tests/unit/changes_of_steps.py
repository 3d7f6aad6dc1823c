"""A pipeline of steps for random histories, and what may be said of one of them, in a way that may come next or not."""

from __future__ import annotations

from typing import Any

from execution_ledger.messages.ids import make_id
from execution_ledger.messages.parts import Failure
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.steps import Reused
from unit.dispatcher_stage import START_MS

STEPS: dict[str, list[str]] = {"load": [], "fit": ["load"], "score": ["load"], "tell": ["fit", "score"]}
REUSED = {"load": Reused(execution=make_id(START_MS, 1, 1), outputs=json_payload({"rows": 3}))}
FAILURE = Failure(kind="user", message="no")
OF_A_STEP: list[tuple[Any, int, dict[str, Any]]] = [
    ("started", 1, {}),
    ("completed", 1, {"outputs": json_payload({"n": 1})}),
    ("completed", 0, {"outputs": REUSED["load"].outputs, "reused": REUSED["load"].execution}),
    ("failed", 1, {"failure": FAILURE}),
    ("started", 2, {"failure": FAILURE}),
    ("skipped", 0, {}),
]
