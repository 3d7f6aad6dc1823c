"""A checkpoint's value as a payload, refused at the call where others could not read it."""

from __future__ import annotations

from typing import Any

from execution_ledger.errors import BadRequest
from execution_ledger.messages.payload import DEPTH_MAX, PAYLOAD_BYTES_MAX, Payload, json_payload, too_deep


def checkpoint_of(value: Any) -> Payload:
    """Raises BadRequest."""
    try:
        if too_deep(value):
            raise BadRequest(f"A checkpoint may be nested {DEPTH_MAX} levels deep, and this one is deeper.")
        payload = json_payload(value)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"The checkpoint cannot be written as JSON: {error}. Pass plain Python values.") from error
    if payload.size > PAYLOAD_BYTES_MAX:
        raise BadRequest(
            f"The checkpoint takes {payload.size:,} bytes as JSON, and may take {PAYLOAD_BYTES_MAX:,}. "
            "Store what is large elsewhere and say in the checkpoint where it is."
        )
    return payload
