"""What the log itself says after an overload, held against what the clients were answered."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.program import Dev
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.messages.events import Aborted, Completed, Event, Failed, Queued, Started, decode_event
from execution_ledger.settings import KafkaSettings
from execution_ledger.verify.reading import read_log
from torture.load import PIPELINE

ENDS = (Completed, Failed, Aborted)


@dataclass
class Evidence:
    """Of the load's executions; and by how much those that ran meanwhile were ended later than they should be."""

    accepted: set[str]  # named in an answer
    unnamed: int  # accepted by answers that could not name them: a key without a decision
    queued: Counter[str]
    ended: Counter[str]
    late_s: list[float]


async def read_evidence(dev: Dev, answers: list[dict[str, Any]], seconds: float, running: list[str]) -> Evidence:
    async with KafkaLog(KafkaSettings(bootstrap_servers=dev.field("Kafka")), "overload") as log:
        stored = await read_log(log)
    events = [decode_event(raw) for shard in stored.values() for raw, _ in shard]
    queued = Counter(event.subject for event in events if _is_of_load(event))
    return Evidence(
        {answer["execution_id"] for answer in answers if "execution_id" in answer},
        len({answer["command_id"] for answer in answers if answer["status_code"] == 202 and "status" in answer}),
        queued,
        Counter(event.subject for event in events if event.subject in queued and isinstance(event.data, ENDS)),
        [_late_s(events, one, (index + 1) * seconds / len(running)) for index, one in enumerate(running)],
    )


def read_answers(folder: Path) -> list[dict[str, Any]]:
    """What all clients have written down."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def _is_of_load(event: Event) -> bool:
    return isinstance(event.data, Queued) and event.data.pipeline.name == PIPELINE


def _late_s(events: list[Event], execution_id: str, takes_s: float) -> float:
    mine = [event for event in events if event.subject == execution_id]
    [began] = [event.recordedtime for event in mine if isinstance(event.data, Started)]
    [ended] = [event.recordedtime for event in mine if isinstance(event.data, Completed)]
    return (ended - began) / 1_000 - takes_s
