"""Every error this project raises on purpose, in one tree.

    LedgerError
    ├── Transient                 trying again can help
    │   ├── OutcomeUnknown        a write got no answer: it may have landed or not
    │   ├── Fenced                another writer has taken the shard over
    │   ├── Stalled               a reader made no progress although there is something to read
    │   ├── Unavailable           a dependency (Kafka, Postgres, a ledger) is away
    │   │   └── StoreAway         the object store failed the code of a pipeline
    │   └── StillRunning          an execution has not ended at the end of a wait for it
    └── Permanent                 trying again cannot help: someone has to change something
        ├── TopicContract         topics are missing or not as they must be
        ├── LogTruncated          a needed position is no longer in the log
        ├── UnknownVersion        a message of a type or version that this code does not know
        ├── BrokenHistory         log, view or chain contradict each other
        ├── BadRequest            what a caller sent cannot be accepted
        │   └── TooLarge          more bytes than are taken in one piece
        ├── NoSuchObject          the object store holds nothing of this name
        ├── BadSettings           a setting is missing or wrong
        └── EndedBadly            an execution that was waited for has failed, or was aborted

Transient or permanent is a property of the type, so that a caller decides by `except`, never by reading a message.
"""

from __future__ import annotations


class LedgerError(Exception):
    """The base of all errors below; its text says what happened, what it means and what to do."""


class Transient(LedgerError):
    """Trying again can help; the outcome of the failed operation may be unknown."""


class OutcomeUnknown(Transient):
    """A write got no answer in time: it may have landed or not, and only the log can tell."""


class Fenced(Transient):
    """Another writer has taken this shard over; nothing this one writes can become visible."""


class Stalled(Transient):
    """A reader stood still although the log goes on; its client has to be made anew."""


class Unavailable(Transient):
    """A dependency does not answer; it is expected to come back."""


class StoreAway(Unavailable):
    """The object store failed the code of a pipeline: the attempt counts as one of the infrastructure's failures."""


class StillRunning(Transient, TimeoutError):
    """An execution has not ended at the end of a wait for it; it goes on, and can be waited for again."""


class Permanent(LedgerError):
    """Trying again cannot help: someone has to change something first."""


class TopicContract(Permanent):
    """A topic is missing, or its partitions, retention or time stamps are not what the ledger needs."""


class LogTruncated(Permanent):
    """A position that is still needed is no longer in the log."""


class UnknownVersion(Permanent):
    """A message bears a type or version that this code does not know; it must not be skipped."""


class BrokenHistory(Permanent):
    """Two records of the same history contradict each other."""


class BadRequest(Permanent):
    """What a caller sent cannot be accepted; nothing was changed by it."""


class TooLarge(BadRequest):
    """More bytes than a setting allows in one file; nothing of it was kept."""


class NoSuchObject(Permanent):
    """The object store holds nothing of this name."""


class BadSettings(Permanent):
    """A setting is missing or cannot be used."""


class EndedBadly(Permanent):
    """An execution that was waited for has failed, or was aborted."""
