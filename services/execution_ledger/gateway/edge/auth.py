"""Who is calling: a bearer token stands for an actor whose name is recorded.

One token exists yet, the bootstrap token of a new cluster; its actor is `admin`.
"""

from __future__ import annotations

from dataclasses import dataclass

from execution_ledger.access import AccessToken, Standing

from .problems import refused

ADMIN = "admin"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True)
class Caller:
    """`token` is the token's digest, never the token."""

    actor: str
    token: str


def caller_of(authorization: str, token: AccessToken) -> Caller:
    """Raises Refused where the header holds no token of ours, or one that is of the past."""
    standing = token.standing(authorization)
    if standing is Standing.WRONG:
        raise refused(
            "unauthorized", "Send `Authorization: Bearer TOKEN`. `exledger dev` says where it keeps the token."
        )
    if standing is Standing.EXPIRED:
        raise refused(
            "token-expired",
            f"This token was good until {token.expires}. Ask whoever runs this ledger for the one that follows it.",
        )
    return Caller(ADMIN, token.sha256)
