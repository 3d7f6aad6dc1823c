"""The data store: what pipelines share and keep under paths of their own choice, in the object store.

What lies there can be replaced and deleted, and no event tells of it: it is material, not history. What an execution
really read or wrote belongs into its inputs, outputs and artifacts, which are kept under their content.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from itertools import accumulate

from .errors import BadRequest, LedgerError, NoSuchObject
from .files import Kept, Measured
from .messages.data import FOLDER, wrong_path
from .objects import Objects


class Data:
    """Raises BadRequest for what is no path, Unavailable where the store does not answer."""

    def __init__(self, objects: Objects, bytes_max: int) -> None:
        self._objects = objects
        self._bytes_max = bytes_max

    async def put(self, path: str, pieces: AsyncIterable[bytes]) -> Kept:
        """Whole or not at all, in place of what was there. Raises TooLarge, and whatever `pieces` raises."""
        name = _name(path)
        await self._check_place(path)
        measured = Measured(pieces, self._bytes_max)
        try:
            await self._objects.put(name, measured)
        except LedgerError:
            if measured.failure:
                raise measured.failure from None
            raise
        return Kept(measured.sha256, measured.size)

    def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """Raises NoSuchObject."""
        return self._objects.get(_name(path))

    async def size(self, path: str) -> int | None:
        """In bytes; None where nothing is."""
        try:
            return await self._objects.size(_name(path))
        except NoSuchObject:
            return None

    async def sizes(self, prefix: str = "") -> Mapping[str, int]:
        """What lies at this path or below it, by path, in order; without a path, everything."""
        folder = _name(prefix) if prefix else FOLDER
        found = dict(await self._objects.sizes(folder))
        if prefix and (own := await self.size(prefix)) is not None:
            found[folder] = own
        return {name.removeprefix(f"{FOLDER}/"): found[name] for name in sorted(found)}

    async def delete(self, path: str) -> bool:
        """Whether there was anything."""
        there = await self.size(path) is not None
        if there:
            await self._objects.delete(_name(path))
        return there

    async def _check_place(self, path: str) -> None:
        """A folder of files cannot hold `a` beside `a/b`, so no store does."""
        *above, _ = accumulate(path.split("/"), "{}/{}".format)
        for each in above:
            if await self.size(each) is not None:
                raise BadRequest(f"There is data at {each}, so none can be below it. Take another path.")
        if await self._objects.sizes(_name(path)):
            raise BadRequest(f"There is data below {path}, so none can be at it. Take another path.")


def _name(path: str) -> str:
    if wrong := wrong_path(path):
        raise BadRequest(f"The path {path[:100]!a} {wrong}.")
    return f"{FOLDER}/{path}"
