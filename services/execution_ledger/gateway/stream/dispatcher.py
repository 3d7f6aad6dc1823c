"""The active dispatcher, asked over HTTP at the address that its claim names: it alone knows why something waits."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httptools

from execution_ledger.messages.position import Position, position_text

from ..edge.problems import Away, away
from .catalog import Catalog

ANSWER_S = 2.0
ANSWER_BYTES_MAX = 8_000_000  # 500 lines of everything, and then some
AGAIN_S = 2  # about what a standby needs to take over


class ActiveDispatcher:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def ask(self, what: str, authorization: str, position: Position) -> bytes | None:
        """The JSON of its answer, which includes `position`; None where it knows nothing of `what`.

        Raises Away where it cannot answer now.
        """
        address = self._catalog.dispatcher_address
        if address is None:
            raise _away(
                "No dispatcher that answers is known. See that one runs (exledger serve dispatcher), and that it has "
                "EXLEDGER__GATEWAY__TOKEN_SHA256, as the gateway has."
            )
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await _get(address, f"{what}/{position_text(position)}", authorization)
        except TimeoutError as error:
            raise _away(f"The dispatcher at {address} has not answered within {ANSWER_S} s.") from error
        except (OSError, httptools.HttpParserError) as error:
            raise _away(f"The dispatcher at {address} does not answer ({error}).") from error
        match status:
            case 200:
                return body
            case 404:
                return None
            case 401:
                raise _away(
                    f"The dispatcher at {address} does not know this token. Give it the gateway's "
                    "EXLEDGER__GATEWAY__TOKEN_SHA256 and start it again."
                )
            case 504:
                raise away(
                    "dispatcher-behind",
                    f"The dispatcher does not yet include {position_text(position)}. Ask again soon, or pass an empty "
                    "`min_position` to ask it as it is.",
                    AGAIN_S,
                )
        raise _away(f"The dispatcher at {address} cannot answer now: another is about to take over, or it is busy.")


def _away(detail: str) -> Away:
    return away("dispatcher-away", f"{detail} Executions may go on meanwhile; ask again soon.", AGAIN_S)


async def _get(address: str, path: str, authorization: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        head = (f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", f"Authorization: {authorization}", "Connection: close")
        writer.write("\r\n".join([*head, "", ""]).encode())
        return await _response(reader)
    finally:
        writer.transport.abort()


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Raises OSError for one that is cut off or beyond all bounds."""
    response = _Response()
    parser = httptools.HttpResponseParser(response)
    while not response.is_complete:
        piece = await reader.read(65_536)
        if not piece or len(response.body) > ANSWER_BYTES_MAX:
            raise ConnectionError("its answer is cut off" if not piece else "its answer is too long")
        parser.feed_data(piece)
    return parser.get_status_code(), bytes(response.body)


class _Response:
    """What the parser tells of an answer."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True
