"""Whether everything has ended: promise 9. A log alone cannot tell, since more may come.

Only an execution that was set apart needs no end: it waits for an operator.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Breach
from .life import QUARANTINED
from .shard import ShardFindings


def check_ended(found: ShardFindings, commands_unread: int, reports_unread: int) -> Iterator[Breach]:
    """One shard, once there was time enough for everything."""
    for execution, state in found.live.items():
        if state != QUARANTINED:
            yield Breach(9, found.shard, None, execution, f"It has not ended: it is {state}.")
    for count, topic in ((commands_unread, "commands"), (reports_unread, "reports")):
        if count > 0:
            yield Breach(9, found.shard, found.sequence, None, f"{count} of its {topic} were never read.")
