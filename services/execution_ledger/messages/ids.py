"""Identity: every id carries its shard, so that nobody consults a partitioner or a table to find it.

Hash partitioners differ between Kafka clients (Java, librdkafka), hence our own arithmetic. All functions are pure:
time and randomness come in as numbers.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import StringConstraints

SHARDS_MAX = 4096  # the shard lives in the 12 `rand_a` bits of a UUIDv7
CATALOG_SHARD = 0

_UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's alphabet: no i, l, o, u

ExecutionId = Annotated[str, StringConstraints(pattern=_UUID_PATTERN)]
# Of templates, twins and experiments: fit for an address, a command line and a file name.
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
PipelineName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]  # that of a parameter, too


def make_id(time_ms: int, shard: int, random_bits: int) -> str:
    """A UUIDv7 (RFC 9562) whose `rand_a` is the shard; `random_bits` gives the 62 bits of `rand_b`."""
    value = (time_ms & (1 << 48) - 1) << 80 | 7 << 76 | shard << 64 | 2 << 62 | random_bits & (1 << 62) - 1
    digits = f"{value:032x}"  # as `str(uuid.UUID(int=value))`, in a third of the time
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def child_id(parent: str, shard: int, index: int) -> str:
    """The id of a batch's child: a function of its parent, so that a repeat makes the same one."""
    digest = hashlib.sha256(f"{parent}/{index}".encode()).digest()
    return make_id(time_ms_of(parent), shard, int.from_bytes(digest[:8], "big"))


def shard_of(execution_id: str) -> int:
    return int(execution_id[15:18], 16)


def time_ms_of(execution_id: str) -> int:
    return int(execution_id[0:8] + execution_id[9:13], 16)


def shard_of_key(key: str, shards: int) -> int:
    """Where a client's idempotency key lives: never on the catalog's shard."""
    return 1 + int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % (shards - 1)


def business_key(pipeline: str, business_id: str) -> str:
    """What at most one live execution has, but for those that wait for it. No name of a pipeline has a slash."""
    return f"{pipeline}/{business_id}"


def shard_of_business(key: str, shards: int) -> int:
    """One shard for all executions of a business id, so that one ledger decides which of them is live."""
    return shard_of_key(f"business/{key}", shards)


def shard_of_child(index: int, shards: int) -> int:
    return 1 + index % (shards - 1)


def command_id_of_key(actor: str, route: str, key: str) -> str:
    """One id for every repeat of a keyed request by the same actor, whichever token or gateway it uses."""
    return hashlib.sha256("\0".join((actor, route, key)).encode()).hexdigest()[:32]


def command_id_of_child(batch_id: str, index: int) -> str:
    return command_id_of_key("batch", batch_id, str(index))


def command_id_of_job(job_id: str, target: str) -> str:
    """One id for whatever a job asks of this execution, whichever gateway sends it, and however often."""
    return hashlib.sha256(f"job/{job_id}/{target}".encode()).hexdigest()[:32]


def number_of(ordinal: int, shard: int) -> int:
    return ordinal * SHARDS_MAX + shard


def shard_of_number(number: int) -> int:
    return number % SHARDS_MAX


def name_of(pipeline: str, number: int) -> str:
    """`<pipeline>-<number in base 32>`: readable, unique and reversible."""
    digits = ""
    while number:
        number, digit = divmod(number, len(_BASE32))
        digits = _BASE32[digit] + digits
    return f"{pipeline}-{digits or _BASE32[0]}"


def number_of_name(name: str) -> int | None:
    """The number inside a name, or None where the text cannot be a name."""
    pipeline, _, digits = name.rpartition("-")
    if not pipeline or not digits or len(digits) > 13 or any(digit not in _BASE32 for digit in digits):
        return None
    number = 0
    for digit in digits:
        number = number * len(_BASE32) + _BASE32.index(digit)
    return number
