"""Which execution a path means: its id, its number or its name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from execution_ledger.messages.ids import CATALOG_SHARD, number_of_name, shard_of, shard_of_number

from ..edge.problems import away
from ..writes.commands import unknown_execution

if TYPE_CHECKING:
    from ..gateway import Gateway

Found = TypeVar("Found")

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_NUMBER_MAX = 2**63 - 1


def shard_of_reference(reference: str, shards: int) -> int:
    """The shard that a reference names. Raises Refused, without any I/O, where no execution can live there."""
    if not shards:
        raise away("starting", "This gateway has not reached the log yet. Try again in a moment.")
    number = number_in(reference)
    if is_id(reference):
        shard = shard_of(reference)
    elif number is not None:
        shard = shard_of_number(number)
    else:
        raise unknown_execution(reference)
    if not CATALOG_SHARD < shard < shards:
        raise unknown_execution(reference)
    return shard


async def execution_id(gateway: Gateway, token: str, reference: str, min_position: str | None) -> str:
    """The id itself, in lower case, or what the views say a number or name stands for."""
    shard = shard_of_reference(reference, gateway.tail.shards)
    if is_id(reference):
        return reference.lower()
    await gateway.reading.reach(token, min_position, shard)
    row = await found_or_caught_up(gateway, shard, lambda: gateway.views.id_of_number(number_in(reference) or 0))
    if row is None or reference not in (row["name"], str(number_in(reference))):
        raise unknown_execution(reference)
    return str(row["id"])


async def found_or_caught_up(gateway: Gateway, shard: int, read: Callable[[], Awaitable[Found]]) -> Found:
    """What is not there is asked for again at the end of the log, before anyone hears that it does not exist."""
    found = await read()
    if not found:
        await gateway.reading.include({shard: gateway.tail.position.get(shard, 0)})
        found = await read()
    return found


def is_id(reference: str) -> bool:
    return _ID.fullmatch(reference.lower()) is not None


def number_in(reference: str) -> int | None:
    """The number that it is, or that is in a name; None where it is neither, or more than there can be."""
    number = int(reference) if re.fullmatch(r"[1-9][0-9]{0,18}", reference) else number_of_name(reference)
    return number if number is not None and number <= _NUMBER_MAX else None
