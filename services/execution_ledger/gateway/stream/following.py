"""Following: the event stream, resumed anywhere without loss or repeat.

A follower's cursor is a position. What the ring still holds comes from there; what lies further back comes from the
journal, until the ring covers it. The cursor alone decides what comes next, so the two can never overlap or gape.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from execution_ledger.errors import Transient, Unavailable
from execution_ledger.messages.position import position_text

from ..gateway import Gateway
from .ring import Frame

FRAMES_MAX = 100  # of one shard in a row, and in one piece of the stream
KEEP_ALIVE_S = 15.0
FOLLOWERS_MAX = 200


@dataclass
class Follower:
    """`subject` narrows the stream to one execution; `cursor` holds the shards that it follows."""

    gateway: Gateway
    cursor: dict[int, int]
    subject: str | None = None

    async def stream(self) -> AsyncIterator[bytes]:
        """Ends when the gateway stops, or when neither ring nor journal can go on: the client then resumes."""
        self.gateway.following += 1
        try:
            yield b"retry: 1000\n" + self._id() + b"\n"  # a position even before the first event
            while not self.gateway.stopping.is_set():
                behind = [shard for shard, sequence in self.cursor.items() if sequence < self._known(shard)]
                if not behind and not await self._wait():
                    yield b": keep-alive\n" + self._id() + b"\n"
                for shard in behind:
                    yield self._encode(shard, await self._next(shard))
        except Transient as error:
            yield f": this stream ends here, resume it: {error}\n\n".encode()
        finally:
            self.gateway.following -= 1

    def _known(self, shard: int) -> int:
        return self.gateway.tail.position.get(shard, 0)

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                await self.gateway.tail.moved.wait()
        except TimeoutError:
            return False
        return True

    async def _next(self, shard: int) -> tuple[list[Frame], int]:
        """Frames in order, and the sequence that the cursor has reached with them."""
        after = self.cursor[shard]
        ring = self.gateway.tail.rings[shard]
        if ring.covers(after):
            frames = ring.after(after, FRAMES_MAX)
            return [frame for frame in frames if self.subject in (None, frame.subject)], frames[-1].sequence
        return await self._from_journal(shard, after)

    async def _from_journal(self, shard: int, after: int) -> tuple[list[Frame], int]:
        views = self.gateway.views
        await views.positions.reach({shard: after + 1}, self.gateway.settings.read_wait_s)
        reached = views.positions.position[shard]
        if self.subject is None:
            frames = await views.shard_frames(shard, after, FRAMES_MAX)
        else:
            frames = await views.subject_frames(self.subject, after, FRAMES_MAX)
        if self.subject is not None and len(frames) < FRAMES_MAX:
            return frames, max(after, reached, *(frame.sequence for frame in frames[-1:]))  # it may have moved on
        if not frames:
            raise Unavailable(f"the journal does not hold what follows {after} in shard {shard} at the moment.")
        return frames, frames[-1].sequence

    def _encode(self, shard: int, found: tuple[list[Frame], int]) -> bytes:
        frames, reached = found
        piece = b"".join(self._event(frame) for frame in frames)
        self.cursor[shard] = reached
        return piece or b": nothing of this\n\n"

    def _event(self, frame: Frame) -> bytes:
        self.cursor[frame.shard] = frame.sequence
        return self._id() + f"event: {frame.type}\ndata: ".encode() + frame.raw + b"\n\n"

    def _id(self) -> bytes:
        return f"id: {position_text(self.cursor)}\n".encode()
