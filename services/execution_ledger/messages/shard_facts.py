"""What happened to a shard itself, and to commands that changed nothing: facts, as those of `events.py`."""

from __future__ import annotations

from typing import Literal

from .fact import Fact
from .ids import ExecutionId
from .parts import BusinessId, Outcome, Reason, Refusal, Text


class ShardCreated(Fact):
    """The first event of every shard: which log it belongs to, and how many shards that log has."""

    TYPE = "shard.created.v1"
    log_id: Text
    shards: int


class ShardClaimed(Fact):
    """A ledger process has become the shard's only writer; the envelope's `ownerepoch` is its number."""

    TYPE = "shard.claimed.v1"
    owner: Text


class ShardCheckpointed(Fact):
    """Nothing happened but reading: moves the lanes' positions, at most once a second."""

    TYPE = "shard.checkpointed.v1"
    ignored: int  # reports since the last checkpoint that changed nothing


class CommandRejected(Fact):
    TYPE = "command.rejected.v1"
    command: Text
    body_digest: Text | None = None
    keyed: bool = False
    refusal: Refusal


class CommandRepeated(Fact):
    """A command whose id was decided before; `first` is what it was told then."""

    TYPE = "command.repeated.v1"
    command: Text
    same_body: bool
    first: Outcome


class CommandUnreadable(Fact):
    """A record in a lane that is not a message of ours; the record itself stays where it is."""

    TYPE = "command.unreadable.v1"
    lane: Literal["commands", "reports"]
    offset: int
    digest: Text
    error: Reason


class CommandFailed(Fact):
    """Deciding, folding or encoding raised: the record changed nothing but left this."""

    TYPE = "command.failed.v1"
    lane: Literal["commands", "reports"]
    offset: int
    digest: Text
    error: Reason


class SubmitJoined(Fact):
    """An execution with this business id was live, and whoever asked for another one wanted that one then."""

    TYPE = "submit.joined.v1"
    execution_id: ExecutionId
    number: int
    name: Text
    business_id: BusinessId
    body_digest: Text | None = None
    keyed: bool = False
