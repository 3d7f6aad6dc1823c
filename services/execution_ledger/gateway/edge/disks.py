"""Disks: whether those that hold the log or the views still have room, where this gateway can see them.

On a cluster the brokers' disks are out of sight: without folders in the settings nothing is checked, and the brokers'
own monitoring has to do it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import structlog

from execution_ledger.errors import BadSettings

LOG = structlog.get_logger("gateway.disks")


class Disks:
    """Raises BadSettings for a folder that is not there: a check that never looks would be worse than none."""

    def __init__(self, folders: Sequence[Path], free_bytes_min: int) -> None:
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise BadSettings(
                f"{missing[0]} is no folder. EXLEDGER__GATEWAY__DISK_FOLDERS names those whose disks are watched, as "
                "a JSON list; leave it out where this gateway cannot see the disks of Kafka and Postgres."
            )
        self._folders = folders
        self._free_bytes_min = free_bytes_min

    async def full(self) -> str | None:
        """Which one is full, in words. One that cannot be looked at is logged, and counts as having room."""
        return await asyncio.to_thread(self._look) if self._folders else None

    def _look(self) -> str | None:
        for folder in self._folders:
            try:
                if short := lack_of_room(folder, self._free_bytes_min):
                    return short
            except OSError as error:
                LOG.warning("a disk cannot be looked at", folder=str(folder), error=str(error))
        return None


def lack_of_room(folder: Path, free_bytes_min: int) -> str | None:
    """What is wrong with a folder's disk, in words; None where it has room. Raises OSError."""
    free = shutil.disk_usage(folder).free
    if free >= free_bytes_min:
        return None
    return (
        f"The disk of {folder} has {free / 1e6:,.0f} MB free, and new executions are refused below "
        f"{free_bytes_min / 1e6:,.0f} MB (EXLEDGER__GATEWAY__DISK_FREE_BYTES_MIN): free some space."
    )
