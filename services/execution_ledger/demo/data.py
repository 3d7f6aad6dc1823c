"""Real data without a download: the data sets that lie inside plotly's wheel. Nothing of plotly is imported."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from execution_ledger.errors import Permanent

Row = dict[str, str]


class DataMissing(Permanent):
    """The package that the data sets come in is not installed."""


def check_datasets() -> None:
    """Raises DataMissing."""
    _folder()


@cache
def read_dataset(name: str) -> tuple[Row, ...]:
    """Its lines, by the names of its columns. Raises DataMissing."""
    with gzip.open(_folder() / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def life_expectancies(country: str) -> list[tuple[float, float]]:
    """(year, years of life) of a country. Raises ValueError where there is no such country."""
    rows = [row for row in read_dataset("gapminder") if row["country"] == country]
    if not rows:
        raise ValueError(f"gapminder has no country {country!r}")
    return [(float(row["year"]), float(row["lifeExp"])) for row in rows]


def prices(stock: str) -> Iterator[tuple[str, float]]:
    """(day, price) of a stock, week by week; the first price is 1. Raises ValueError where there is no such stock."""
    rows = read_dataset("stocks")
    if stock not in rows[0] or stock == "date":
        raise ValueError(f"the data have no stock {stock!r}")
    return ((row["date"], float(row[stock])) for row in rows)


def _folder() -> Path:
    found = find_spec("plotly")
    if found is None or found.origin is None:
        raise DataMissing(
            "The demo works on data sets that come with the Python package plotly, which is not installed. "
            "Install all that it needs with: pip install 'execution-ledger[demo,embedded]'"
        )
    return Path(found.origin).parent / "package_data" / "datasets"
