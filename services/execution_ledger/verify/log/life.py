"""The table of an execution's life, written a second time, by the reader: which fact may follow which state.

`domain/execution.py` decides and folds; it folds more than it would ever decide. What is legal is said here on its own,
so that a mistake there cannot hide itself. A test walks both side by side.
"""

from __future__ import annotations

from typing import Final

from execution_ledger.messages.events import (
    FACTS,
    Aborted,
    AbortRequested,
    Completed,
    Dispatched,
    Fact,
    Failed,
    Held,
    Quarantined,
    Queued,
    Recorded,
    Requeued,
    Started,
    Unheld,
)

# Two states have no word of their own outside: `withdrawn` lies between an abort's request in the queue and the end
# that follows in the same breath; `entered` is an abort that was requested, or reported, after the code had begun.
UNKNOWN: Final = "unknown"
OUT_OF_SIGHT: Final = "out of sight"  # events of it are known to be missing
QUEUED: Final = "queued"
HELD: Final = "held"
WITHDRAWN: Final = "withdrawn"
DISPATCHED: Final = "dispatched"
STARTED: Final = "started"
ABORTING: Final = "abort_requested"
ENTERED: Final = "abort_requested after its start"
QUARANTINED: Final = "quarantined"
ENDED: Final = "ended"

RECORDED: Final[tuple[type[Fact], ...]] = tuple(fact for fact in FACTS if issubclass(fact, Recorded))

NEXT: dict[tuple[str, type[Fact]], str] = {
    (UNKNOWN, Queued): QUEUED,
    (QUEUED, Dispatched): DISPATCHED,
    (QUEUED, AbortRequested): WITHDRAWN,
    (QUEUED, Aborted): ENDED,
    (QUEUED, Failed): ENDED,
    (QUEUED, Held): HELD,
    (HELD, Unheld): QUEUED,
    (HELD, AbortRequested): WITHDRAWN,
    (HELD, Aborted): ENDED,
    (HELD, Failed): ENDED,
    (WITHDRAWN, Aborted): ENDED,
    (DISPATCHED, Started): STARTED,
    (DISPATCHED, Requeued): QUEUED,
    (DISPATCHED, AbortRequested): ABORTING,
    (DISPATCHED, Aborted): ENDED,
    (DISPATCHED, Failed): ENDED,
    (STARTED, Requeued): QUEUED,
    (STARTED, AbortRequested): ENTERED,
    (STARTED, Aborted): ENDED,
    (STARTED, Completed): ENDED,
    (STARTED, Failed): ENDED,
    (ABORTING, Started): ENTERED,
    (ABORTING, Aborted): ENDED,
    (ABORTING, Completed): ENDED,
    (ABORTING, Failed): ENDED,
    (ENTERED, Aborted): ENDED,
    (ENTERED, Completed): ENDED,
    (ENTERED, Failed): ENDED,
    (QUARANTINED, Quarantined): QUARANTINED,
    (QUARANTINED, Aborted): ENDED,
}
NEXT.update({(state, Quarantined): QUARANTINED for state in (QUEUED, HELD, DISPATCHED, STARTED, ABORTING, ENTERED)})
NEXT.update({(state, fact): state for state in (STARTED, ABORTING, ENTERED) for fact in RECORDED})

# Where a life goes on after a fact that should not have come.
AFTERWARDS: dict[type[Fact], str] = {
    Queued: QUEUED,
    Dispatched: DISPATCHED,
    Started: STARTED,
    **dict.fromkeys(RECORDED, STARTED),
    Requeued: QUEUED,
    Held: HELD,
    Unheld: QUEUED,
    AbortRequested: ABORTING,
    Aborted: ENDED,
    Completed: ENDED,
    Failed: ENDED,
    Quarantined: QUARANTINED,
}

OUTCOMES: dict[str, frozenset[str]] = {
    QUEUED: frozenset({"never_started"}),
    HELD: frozenset({"never_started"}),
    WITHDRAWN: frozenset({"never_started"}),
    DISPATCHED: frozenset({"forced"}),
    STARTED: frozenset({"forced", "self"}),
    ABORTING: frozenset({"forced", "lost", "acknowledged", "never_started"}),
    ENTERED: frozenset({"forced", "lost", "acknowledged"}),
    QUARANTINED: frozenset({"forced"}),
}

ON_A_RUNNER = frozenset({DISPATCHED, STARTED, ABORTING, ENTERED})
