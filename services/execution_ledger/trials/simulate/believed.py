"""The snapshots of a run, read as a start would read them: what it would believe must be what `verify` makes of the log
up to there. Promise 7.
"""

from __future__ import annotations

from execution_ledger.log.protocol import Log
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import LedgerSettings
from execution_ledger.snapshots.form import Unusable
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.folds.comparing import subjects
from execution_ledger.verify.folds.snapshots import SnapshotCheck

from .objects import SimulatedObjects


async def check_snapshots(log: Log, objects: SimulatedObjects, settings: LedgerSettings) -> list[Breach]:
    """All that were ever there, one at a time; what no start would believe breaks nothing."""
    one = MemoryObjects()
    whose = subjects(one, settings, await log.shards())
    checks: dict[str, SnapshotCheck[object]] = {}
    for name, whole in sorted(set(objects.shown)):  # from the oldest to the newest, so that the log is folded once
        one.held = {name: whole}
        _, log_id, of, _ = name.split("/")
        try:
            await whose[of].keeper.read(name, log_id)
        except Unusable:
            continue
        objects.believed += 1
        await checks.setdefault(of, SnapshotCheck(log, whose[of], log_id, _nobody)).run([name])
    return [breach for check in checks.values() for breach in check.found.breaches.kept]


def _nobody(_: int) -> None:
    """Nobody watches."""
