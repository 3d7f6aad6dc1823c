"""The demo's pipelines compute what they say, from data that ship with a dependency."""

from __future__ import annotations

import asyncio
import sys

import pytest

from execution_ledger import Context
from execution_ledger.demo import pipelines
from execution_ledger.demo.data import DataMissing, check_datasets, life_expectancies, prices
from execution_ledger.demo.story import BATCH
from execution_ledger.messages.parts import Options
from execution_ledger.sdk.pipelines.app import collect


def about(twin: str, warned: list[str] | None = None) -> Context:
    options = Options(train=False, plot=False, write=True)
    warnings: list[str] = [] if warned is None else warned
    return Context(
        execution_id="e-1",
        name="demo-1",
        attempt=1,
        mode="production",
        options=options,
        said=lambda said: warnings.append(said.fields["message"]),
        twin=twin,
        properties={"since": 1952},
    )


def test_the_slope_is_that_of_the_line_that_fits_best() -> None:
    assert pipelines.slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert pipelines.slope([(0, 0), (1, 1), (2, 0)]) == pytest.approx(0)
    assert pipelines.slope([(7, 1), (7, 2)]) == 0


def test_the_trend_of_a_country_is_a_number_and_a_sentence() -> None:
    found = pipelines.trend(about("Japan"))
    assert found["slope"] == pytest.approx(0.3529, abs=1e-4)
    assert found["summary"] == "+0.35 years of life a year"


def test_a_country_that_does_not_exist_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no country 'Atlantis'"):
        pipelines.trend(about("Atlantis"))


def test_a_stock_that_does_not_exist_is_a_value_error() -> None:
    for name in ("ACME", "date"):
        with pytest.raises(ValueError, match="no stock"):
            prices(name)


def test_the_best_month_of_a_stock() -> None:
    found = pipelines.best_month(about("AAPL"))
    assert (found["month"], found["change"]) == ("2019-06", pytest.approx(0.1305, abs=1e-4))


async def test_the_interval_holds_the_trend_and_is_the_same_in_every_run() -> None:
    found = await pipelines.interval(about("Japan"), 200)
    assert found["low"] < pipelines.slope(life_expectancies("Japan")) < found["high"]
    assert found == await pipelines.interval(about("Japan"), 200)


async def test_watching_goes_on_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "WEEK_S", 0)
    warned = asyncio.Event()
    context = about("FB")
    monkeypatch.setattr(context, "warn", lambda message: warned.set() if "2018-07-23: -17%" in message else None)
    watching = asyncio.create_task(pipelines.watch(context, 0.1))
    await asyncio.wait_for(warned.wait(), 10)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


def test_the_batch_asks_for_what_the_module_offers_and_one_of_it_is_limited() -> None:
    offered = collect(pipelines)
    assert {each["pipeline"] for each in BATCH} == set(offered)
    assert {name for name, each in offered.items() if each.definition.limit == 1} == {"interval"}


def test_without_the_data_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(DataMissing, match=r"pip install 'execution-ledger\[demo,embedded\]'"):
        check_datasets()
