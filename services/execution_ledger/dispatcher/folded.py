"""What a dispatcher has made of all events, in one piece: for a snapshot, and to go on from one.

Not in it: what heartbeats say, which come again, and what this dispatcher asked for, which its end undoes. A place that
was freed because a runner no longer listed it stays free: that was proved once.
"""

from __future__ import annotations

from dataclasses import dataclass

from .board import Execution, Token
from .claims import Claim
from .limits import Held, Newest

# One more with every change of what board, queue, limits, slots or claims make of the same events: a golden test tells.
FOLD_VERSION = 5


@dataclass(frozen=True, slots=True)
class Folded:
    executions: dict[str, Execution]
    held: dict[str, Held]  # by `held_key`
    limits: dict[str, Newest]
    claim: Claim


def held_key(token: Token) -> str:
    return f"{token.execution_id}/{token.attempt}"


def token_of(key: str) -> Token:
    execution_id, _, attempt = key.partition("/")
    return Token(execution_id, int(attempt))
