"""Who is calling: a bearer token is known by its sha256 alone, and stands for an actor whose name is recorded.

One token exists yet, the bootstrap token of a new cluster; its actor is `admin`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from execution_ledger.errors import BadSettings

from .problems import Refused, refused

ADMIN = "admin"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True)
class Caller:
    """`token` is the token's digest, never the token."""

    actor: str
    token: str


class Tokens:
    def __init__(self, sha256: str) -> None:
        """Raises BadSettings: a gateway that anyone could use must not start."""
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise BadSettings(
                "The gateway needs the sha256 of a token (64 hexadecimal digits) in EXLEDGER__GATEWAY__TOKEN_SHA256. "
                "`exledger dev` makes a token by itself; by hand: `printf %s TOKEN | sha256sum`."
            )
        self._sha256 = sha256.lower()

    def caller(self, authorization: str) -> Caller:
        """Raises Refused where the header holds no token of ours; compares in constant time."""
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._sha256):
            raise _unauthorized()
        return Caller(ADMIN, digest)


def _unauthorized() -> Refused:
    return refused("unauthorized", "Send `Authorization: Bearer TOKEN`. `exledger dev` says where it keeps the token.")
