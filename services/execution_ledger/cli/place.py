"""Where a ledger's Kafka and Postgres are, for the commands that look into them without its gateway."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..embedded.folder import DataFolder, FolderInUse
from ..errors import Unavailable
from .serve import read_settings
from .terminal.output import show_note

if TYPE_CHECKING:
    from ..verify.verification import Place

NAMED_KAFKA = "EXLEDGER__KAFKA__BOOTSTRAP_SERVERS"
NAMED_POSTGRES = "EXLEDGER__POSTGRES__DSN"


@asynccontextmanager
async def place_of(folder: Path, command: str) -> AsyncIterator[Place]:
    """Raises Unavailable where nothing is named, nothing runs, and there is nothing to start."""
    if NAMED_KAFKA in os.environ:
        dsn = read_settings().postgres.dsn.get_secret_value() if NAMED_POSTGRES in os.environ else None
        yield _place_at(None, dsn)
        return
    data = DataFolder(folder)
    if running := data.describe():
        yield _place_at(running.kafka, running.postgres or None, data.objects)
    elif (data.path / "kafka").is_dir():
        async with _started(data, command) as place:
            yield place
    else:
        raise Unavailable(
            f"There is no ledger in {folder}. Name its folder by --data-dir, or a cluster by {NAMED_KAFKA} and "
            f"{NAMED_POSTGRES}."
        )


@asynccontextmanager
async def _started(data: DataFolder, command: str) -> AsyncIterator[Place]:
    """Kafka and Postgres without any service: nothing is written meanwhile, and no `dev` can begin."""
    from ..embedded.stack import Stack
    from .stack.screen import Download

    with _held(data, command), Download() as download:
        show_note(f"No ledger runs in {data.path}: starting its Kafka and Postgres for this …")
        async with Stack(data.path, progress=download.tell) as stack:
            download.close()
            yield _place_at(stack.bootstrap_servers, stack.dsn, data.objects)


def _held(data: DataFolder, command: str) -> DataFolder:
    """Raises Unavailable while another process holds the folder: a `dev` that starts, or another such command."""
    try:
        return data.hold(command)
    except FolderInUse as error:
        raise Unavailable(str(error)) from None


def _place_at(kafka: str | None, dsn: str | None, objects_in: Path | None = None) -> Place:
    from ..verify.verification import Place

    settings = read_settings()
    named = {"bootstrap_servers": kafka} if kafka else {}
    objects = settings.objects
    if objects_in is not None:  # a look at it must not make it: where it is gone, nothing is there
        objects = objects.model_copy(update={"url": str(objects_in) if objects_in.is_dir() else "memory://"})
    return Place(settings.kafka.model_copy(update=named), settings.ledger, dsn, objects)
