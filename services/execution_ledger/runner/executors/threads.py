"""Plain functions run in threads of their own: daemons, so that code which never ends cannot keep the process alive.

A pool's threads would be joined at exit. The runner's slots bound their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

from ..outcomes import Outcome

PlainCall = Callable[[Callable[[], Outcome]], Awaitable[Outcome]]


async def in_daemon_thread(work: Callable[[], Outcome]) -> Outcome:
    """`work` must not raise. If nobody waits any longer, its outcome is dropped."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()

    def resolve(outcome: Outcome) -> None:
        if not done.done():
            done.set_result(outcome)

    def body() -> None:
        outcome = work()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the runner has gone without this thread
            loop.call_soon_threadsafe(resolve, outcome)

    threading.Thread(target=body, name="pipeline", daemon=True).start()
    return await done
