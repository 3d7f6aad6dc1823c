"""One attempt's log: its lines as bytes, the newest of them on their way to followers, and a bounded part kept.

Kept are the beginning and the end, with a mark between where lines had to go. Safe to use from any thread, and nothing
here waits: code must never stand still because it prints.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable

from execution_ledger.messages.base import rfc3339
from execution_ledger.messages.inbox import Token
from execution_ledger.messages.lines import TEXT_CHARS_MAX, Stream
from execution_ledger.sdk.attempt.capped import cap

PENDING_BYTES_MAX = 256_000  # of one attempt, on their way to followers at once; more is in what is kept
LINES_AT_ONCE_MAX = 2_000  # of one write: what is beyond would hold up the loop that it may be called on
BUSY_S = 0.002
BEGUN_MAX = 64  # threads that have begun a line and not ended it
STEP_CHARS_MAX = 255

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Room:
    """The memory that all logs of a process share."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._lock = threading.RLock()

    def has(self, size: int) -> bool:
        return self.bytes + size <= self.bytes_max

    def take(self, size: int) -> None:
        """Negative: gives it back."""
        with self._lock:
            self.bytes += size


Writer = tuple[Stream, int, str | None]  # a thread may go from step to step, and an event loop turns between them


class Captured:
    """`bytes_max` is kept of it, if the room allows; `news` hears once that there is something to take."""

    def __init__(
        self, token: Token, now_ms: Callable[[], int], bytes_max: int, room: Room, news: Callable[[Captured], None]
    ) -> None:
        self.token = token
        self.open = True
        self._now_ms, self._room, self._news = now_ms, room, news
        self._lock = threading.RLock()  # taken again where what is collected just then prints, too
        self._part_max = bytes_max // 2  # of beginning and end, each
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._head_bytes = self._tail_bytes = 0
        self._ordinal = 0
        self._cut_lines = self._cut_bytes = 0
        self._begun: dict[Writer, str] = {}
        self._cut_short: set[Writer] = set()  # whose lines were too long: their ends are still to come
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._heard = False

    @property
    def silent(self) -> bool:
        return not (self._ordinal or self._begun)

    def write(self, stream: Stream, text: str, step: str | None = None) -> None:
        """As a file takes it: lines in pieces, or many at once."""
        key = stream, threading.get_ident(), step
        with self._lock:
            *lines, begun = (self._begun.pop(key, "") + text).split("\n")
            if lines and key in self._cut_short:
                self._cut_short.discard(key)
                lines = lines[0 if lines[0] else 1 :]
            for line in lines[:LINES_AT_ONCE_MAX]:
                self._add(stream, _as_seen(line), None, step)
            if skipped := lines[LINES_AT_ONCE_MAX:]:
                self._skip(skipped)
            if begun:
                self._begin(key, begun)

    def line(self, stream: Stream, text: str, level: str | None, step: str | None = None) -> None:
        """What is logged: it may have several lines, and is one all the same."""
        with self._lock:
            self._add(stream, text, level, step)

    def take(self) -> bytes | None:
        """What is new for followers; None where the code is just writing: whoever sends lines waits for nobody."""
        if not self._lock.acquire(timeout=BUSY_S):
            return None
        try:
            taken, self._pending, self._pending_bytes, self._heard = self._pending, [], 0, False
        finally:
            self._lock.release()
        return b"".join(taken)

    def close(self) -> list[bytes]:
        """What was kept; nothing is taken in any more."""
        with self._lock:
            for (stream, _, step), begun in self._begun.items():
                self._add(stream, _as_seen(begun), None, step)
            self.open = False
            self._room.take(-self._head_bytes - self._tail_bytes)
            kept = [*self._head, *self._mark(), *self._tail]
            self._head, self._tail, self._begun = [], deque(), {}
            return kept

    def _begin(self, key: Writer, begun: str) -> None:
        if len(begun) > TEXT_CHARS_MAX or len(self._begun) >= BEGUN_MAX:
            stream, _, step = key
            self._add(stream, _as_seen(begun), None, step)
            if len(self._cut_short) < BEGUN_MAX:
                self._cut_short.add(key)
        else:
            self._begun[key] = begun

    def _add(self, stream: Stream, text: str, level: str | None, step: str | None) -> None:
        if not self.open:
            return
        self._ordinal += 1
        self._put(self._encoded(self._ordinal, stream, text, level, step))

    def _skip(self, lines: list[str]) -> None:
        if self.open:
            self._ordinal += len(lines)
            size = sum(map(len, lines))
            text = f"… {len(lines):,} lines ({size:,} characters) were cut here: they came all at once …"
            self._put(self._encoded(self._ordinal, "cut", text, None, None))

    def _put(self, line: bytes) -> None:
        self._keep(line)
        if self._pending_bytes + len(line) <= PENDING_BYTES_MAX:
            self._pending.append(line)
            self._pending_bytes += len(line)
        if not self._heard:
            self._heard = True
            self._news(self)

    def _encoded(self, ordinal: int, stream: Stream, text: str, level: str | None, step: str | None) -> bytes:
        said = {"attempt": self.token.attempt, "ordinal": ordinal, "time": rfc3339(self._now_ms()), "stream": stream}
        said |= {"level": level} if level else {}
        said |= {"step": cap(step, STEP_CHARS_MAX)} if step else {}
        said["text"] = text if text.isascii() and len(text) <= TEXT_CHARS_MAX else cap(text, TEXT_CHARS_MAX)
        return _ENCODER.encode(said).encode() + b"\n"

    def _keep(self, line: bytes) -> None:
        size = len(line)
        if not (self._tail or self._cut_lines) and self._head_bytes + size <= self._part_max and self._room.has(size):
            self._head.append(line)
            self._head_bytes += size
            self._room.take(size)
            return
        while self._tail and not self._fits(size):
            gone = self._tail.popleft()
            self._tail_bytes -= len(gone)
            self._room.take(-len(gone))
            self._cut(gone)
        if self._fits(size):
            self._tail.append(line)
            self._tail_bytes += size
            self._room.take(size)
        else:
            self._cut(line)

    def _fits(self, size: int) -> bool:
        return self._tail_bytes + size <= self._part_max and self._room.has(size)

    def _cut(self, line: bytes) -> None:
        self._cut_lines += 1
        self._cut_bytes += len(line)

    def _mark(self) -> list[bytes]:
        if not self._cut_lines:
            return []
        text = f"… {self._cut_lines:,} lines ({self._cut_bytes:,} bytes) were cut here: of an attempt's log only its "
        text += f"beginning and its end are kept, {self._part_max:,} bytes of each (fewer where others need the room) …"
        return [self._encoded(len(self._head) + self._cut_lines, "cut", text, None, None)]


def _as_seen(line: str) -> str:
    """What a carriage return has left of a line, as progress bars mean it."""
    return line.removesuffix("\r").rpartition("\r")[2]
