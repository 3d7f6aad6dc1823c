"""Commands that run the ledger itself against the cluster that the settings name."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadSettings
from .terminal.output import AsJson, show_json_lines, show_table

if TYPE_CHECKING:
    from ..settings import Settings


HOUR_MS = 3_600_000


class Name(StrEnum):
    LEDGER = "ledger"
    DISPATCHER = "dispatcher"
    RUNNER = "runner"
    PROJECTOR = "projector"
    GATEWAY = "gateway"


def init(as_json: AsJson = False) -> None:
    """Make the topics that are missing, and check those that are there."""
    rows = asyncio.run(_make_topics(read_settings()))
    if as_json:
        show_json_lines(rows)
    else:
        show_table(("TOPIC", "PARTITIONS", "KEPT", ""), [row.values() for row in rows])


def serve(
    services: Annotated[list[Name], typer.Argument(metavar="SERVICE...", help="One or more of: " + ", ".join(Name))],
    app: Annotated[str | None, typer.Option(help="For the runner: the module that holds the pipelines.")] = None,
) -> None:
    """Run services against a cluster.

    Settings come from the environment: EXLEDGER__KAFKA__BOOTSTRAP_SERVERS, EXLEDGER__POSTGRES__DSN and so on.
    """
    from ..main import serve as serve_all

    serve_all([service.value for service in services], read_settings(app))


def read_settings(app: str | None = None) -> Settings:
    """Raises BadSettings, naming each variable that is wrong."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from ..settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        raise _unusable(_wrong(each) for each in error.errors()) from None
    except SettingsError as error:
        raise _unusable([*_no_json(os.environ)] or [f"  {error}"]) from None
    if app is None:
        return settings
    return settings.model_copy(update={"runner": settings.runner.model_copy(update={"app": app})})


def _unusable(wrong: Iterable[str]) -> BadSettings:
    return BadSettings("\n".join(["These settings cannot be used:", *wrong]))


def _wrong(error: Mapping[str, Any]) -> str:
    is_unknown = error["type"] == "extra_forbidden"
    says = "is no setting. Is it misspelt? See: exledger config show" if is_unknown else error["msg"]
    variable = "__".join(map(str, error["loc"])).upper()
    return f"  EXLEDGER__{variable}: {says}" if variable else f"  {says.removeprefix('Value error, ')}"


def _no_json(environ: Mapping[str, str]) -> Iterator[str]:
    """A whole section, a list and a dict are given as JSON."""
    from pydantic import BaseModel

    from ..settings import Settings

    for section, info in Settings.model_fields.items():
        fields = dict(info.default) if isinstance(info.default, BaseModel) else {}
        holds = {section, *(f"{section}__{name}" for name, value in fields.items() if isinstance(value, dict | tuple))}
        for name, text in environ.items():
            if name.upper() in {f"EXLEDGER__{one}".upper() for one in holds if fields}:
                try:
                    json.loads(text)
                except ValueError as error:
                    yield f"  {name}: is no JSON ({error})"


async def _make_topics(settings: Settings) -> list[dict[str, Any]]:
    from ..log.topics import check_topics, create_topics, plans

    made = await create_topics(settings.kafka)
    await check_topics(settings.kafka)
    return [
        {
            "topic": plan.name,
            "partitions": plan.partitions,
            "kept": kept(plan.retention_ms),
            "state": "made" if plan.name in made else "was there",
        }
        for plan in plans(settings.kafka)
    ]


def kept(retention_ms: int) -> str:
    if retention_ms < 0:
        return "for ever"
    days, hours = divmod(retention_ms // HOUR_MS, 24)
    return " ".join(filter(None, [f"{days} d" if days else "", f"{hours} h" if hours else ""]))
