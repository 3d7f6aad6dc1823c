"""The ledger's snapshots: a shard's whole state, under the version of the fold that made it."""

from __future__ import annotations

from execution_ledger.clock import World
from execution_ledger.objects import Objects
from execution_ledger.settings import LedgerSettings, SnapshotSettings
from execution_ledger.snapshots.keeping import Keeper
from execution_ledger.snapshots.layout import Layout

from .shard import FOLD_VERSION, ShardState, initial

LAYOUT = Layout[ShardState](ShardState)


def name_of(shard: int) -> str:
    """Of a shard's snapshots."""
    return f"ledger-{shard}"


def keeper(
    objects: Objects, world: World, settings: SnapshotSettings, ledger: LedgerSettings, shards: int
) -> Keeper[ShardState]:
    """How long things are remembered is a part of the state, so other settings make another fold."""
    fold = f"{FOLD_VERSION} {LAYOUT.digest(initial(0, shards, ledger))}"
    return Keeper(objects, world, settings, LAYOUT, fold, shards)
