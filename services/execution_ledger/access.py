"""The token that opens this ledger: known by its sha256 alone, and good until it expires."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from enum import Enum

from .clock import Clock
from .errors import BadSettings
from .settings import GatewaySettings


class Standing(Enum):
    """Of what somebody shows as his token. Only who has the right one learns that it has expired."""

    VALID = "valid"
    WRONG = "wrong"
    EXPIRED = "expired"


class AccessToken:
    """`standing` compares in constant time."""

    def __init__(self, settings: GatewaySettings, clock: Clock) -> None:
        """Raises BadSettings: what anyone could use must not start."""
        if not re.fullmatch(r"[0-9a-fA-F]{64}", settings.token_sha256):
            raise BadSettings(
                "The gateway needs the sha256 of a token (64 hexadecimal digits) in EXLEDGER__GATEWAY__TOKEN_SHA256. "
                "`exledger dev` makes a token by itself; by hand: `printf %s TOKEN | sha256sum`."
            )
        self.sha256 = settings.token_sha256.lower()
        self.expires = settings.token_expires
        self._now_ms: Callable[[], int] = clock.now_ms

    def standing(self, authorization: str) -> Standing:
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self.sha256):
            return Standing.WRONG
        has_expired = self.expires is not None and self._now_ms() >= self.expires.timestamp() * 1000
        return Standing.EXPIRED if has_expired else Standing.VALID
