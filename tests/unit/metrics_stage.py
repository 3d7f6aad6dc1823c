"""What a process shows of its metrics, read from the page that Prometheus would get; and the table of all metrics."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from execution_ledger.metrics import page

CATALOGUE = Path(__file__).parents[2] / "deploy" / "metrics.md"

Key = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Key, float]:
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


class Shown:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = samples(page(registry).decode())

    def value(self, name: str, **labels: str) -> float:
        """Of exactly this sample. Raises KeyError where there is none."""
        return self._samples[name, frozenset(labels.items())]

    def total(self, name: str) -> float:
        """Of all its samples."""
        return sum(value for (found, _), value in self._samples.items() if found == name)

    def labelled(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self._samples if found == name]


class Row(NamedTuple):
    type: str
    labels: frozenset[str]
    meaning: str


def catalogue() -> dict[str, Row]:
    """The rows of the table, by the metric's name (without the `_total` of a counter)."""
    lines = [line for line in CATALOGUE.read_text().splitlines() if line.startswith("| `exledger_")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        name.strip("`"): Row(kind, frozenset(labels.replace("`", "").replace(",", " ").split()), meaning)
        for name, kind, labels, meaning in cells
    }
