"""The object store in memory, with what one does to its clients: away, slow, answers and halves of objects that are
lost, objects that are damaged, forgotten, or come back after they were replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from unittest.mock import patch

from execution_ledger.errors import Unavailable
from execution_ledger.objects import MemoryObjects
from execution_ledger.snapshots import form
from execution_ledger.snapshots.layout import by_key

from .faults import Troubles

TRIP_S = (0.002, 0.05)
PLACE = "objects"


class SimulatedObjects(MemoryObjects):
    """`shown` is all that anybody could ever have read, whole or damaged; how many of it would be believed is found out
    by the checks. `moment` is called where a fault may wait.
    """

    def __init__(
        self, troubles: Troubles, chance: random.Random, moment: Callable[[str, str], Awaitable[None]]
    ) -> None:
        super().__init__()
        self.shown: list[tuple[str, bytes]] = []
        self.read = self.believed = 0
        self._troubles, self._chance, self._moment = troubles, chance, moment

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
        await self._travel()
        whole = b"".join([piece async for piece in pieces])
        await self._moment("snapshot", PLACE)
        await self._travel()
        cut = self._troubles.hits("objects_cut", PLACE)
        if cut and self._chance.random() < 0.5:
            raise Unavailable("The connection broke before the object was there.")
        self._show(name, whole)
        if cut:
            raise Unavailable("The connection broke after the object was there.")

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        await self._travel()
        async for piece in super().get(name):
            if self._troubles.hits("objects_torn", PLACE):
                yield piece[: self._chance.randrange(len(piece))]
                raise Unavailable("The connection broke in the middle of the object.")
            yield piece
        self.read += 1

    async def size(self, name: str) -> int:
        await self._travel()
        return await super().size(name)

    async def move(self, name: str, to: str) -> None:
        await self._travel()
        await super().move(name, to)
        if self._troubles.hits("objects_cut", PLACE):
            raise Unavailable("The connection broke after the object was moved.")

    async def names(self, folder: str) -> list[str]:
        await self._travel()
        return await super().names(folder)

    async def delete(self, name: str) -> None:
        await self._travel()
        await super().delete(name)

    def damage(self) -> bool:
        """Another digit somewhere in one of them: it can be read all the same. False where there is none."""
        if not self.held:
            return False
        name = self._chance.choice(sorted(self.held))
        whole = bytearray(self.held[name])
        at = self._chance.choice([at for at, byte in enumerate(whole) if chr(byte).isdigit()])
        others = [digit for digit in b"123456789" if digit != whole[at]]
        whole[at] = others[self._chance.randrange(8)]
        self._show(name, bytes(whole))
        return True

    def _show(self, name: str, whole: bytes) -> None:
        self.held[name] = whole
        self.shown.append((name, whole))

    async def _travel(self) -> None:
        slow = self._troubles.on("objects_slow", PLACE)
        await asyncio.sleep(self._chance.uniform(*TRIP_S) + (self._chance.uniform(0, slow.amount) if slow else 0))
        if self._troubles.on("objects_away", PLACE):
            raise Unavailable("The object store does not answer.")


def in_order() -> AbstractContextManager[object]:
    """Snapshots are written in the order of their keys: damage hits a place in an object, and in a trie's own order,
    another one in each process and map, another thing lies there each time."""
    return patch.object(form, "write", partial(form.write, order=by_key))
