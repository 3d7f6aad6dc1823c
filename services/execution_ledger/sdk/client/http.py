"""The connection to a ledger: asks again where that is safe, and turns problems into errors with a next step.

Asking again is safe for every request made here: reads change nothing, and writes carry an Idempotency-Key. Answers
are plain JSON: the command line shows them as they are, and `Client` gives them types.
"""

from __future__ import annotations

import codecs
import io
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from ...errors import BadRequest, BadSettings, LedgerError, Unavailable
from .address import URL_LIKE, Address

TRIES_MAX = 6  # 3.1 s in all: the address may be wrong, and someone waits to be told so
TRIES_KNOWN_MAX = 9  # 16.3 s, once it is known to be there: enough for a gateway that is started again
PAUSE_FIRST_S = 0.1  # then twice as long each time
PAUSE_MAX_S = 5.0
TIMEOUT = httpx.Timeout(10.0, read=75.0)  # a large batch takes its time
MARGIN_S = 15.0  # for the answer to a read that waits at the gateway, beyond that wait
BUSY = frozenset({429, 503})
GONE = frozenset({502, 504})  # a proxy that cannot reach the gateway
PIECE_BYTES = 1_000_000  # of a file that is sent
LINE_CHARS_MAX = 4_000_000  # an event takes less than a quarter of this

TOKENS_COME_FROM = (
    "A `dev` keeps its token in its data folder: use --data-dir, or EXLEDGER_TOKEN=$(cat DATA_DIR/token). "
    "For any other ledger set EXLEDGER_TOKEN to the token whose sha256 is in its EXLEDGER__GATEWAY__TOKEN_SHA256."
)

Json = dict[str, Any]


class Refused(BadRequest):
    """The ledger said no, and nothing was changed. `problem` is its whole answer (RFC 9457), `type` its stable part."""

    def __init__(self, problem: Json, text: str) -> None:
        super().__init__(text)
        self.problem = problem

    def __reduce__(self) -> tuple[type[Self], tuple[Json, str]]:
        return type(self), (self.problem, str(self))


def open_http(address: Address, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A proxy of the environment is not for a ledger on this machine. Raises BadSettings."""
    if not is_header_text(address.token):
        raise BadSettings(f"{address.token_from} holds no token: a token is plain ASCII text without line breaks.")
    headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
    if not address.url.lower().startswith(("http://", "https://")):
        raise BadSettings(f"{address.url!a} is no URL of a ledger. Write it like {URL_LIKE}.")
    try:
        return httpx.Client(
            base_url=address.url,
            headers=headers,
            timeout=TIMEOUT,
            trust_env=address.running is None,
            transport=transport,
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BadSettings(f"{address.url!a} is no URL of a ledger ({error}). Write it like {URL_LIKE}.") from error


class Connection:
    """`with` it, or close it. Safe to use from several threads. `pause` waits for so many seconds."""

    def __init__(self, address: Address, http: httpx.Client, pause: Callable[[float], object] | None = None) -> None:
        self.address = address
        self.pause = pause or threading.Event().wait
        self._client = http
        self._tries_max = TRIES_KNOWN_MAX if address.running else TRIES_MAX

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closing twice is safe."""
        self._client.close()

    @property
    def _http(self) -> httpx.Client:
        """Raises BadRequest once it is closed."""
        if self._client.is_closed:
            raise BadRequest("This client is closed. Make another one: Client().")
        return self._client

    def get(self, path: str, *, wait: float | None = None, **params: Any) -> Json:
        """Params that are None are left out; `wait` is for how long the gateway may hold the answer, in seconds.

        Raises BadRequest, Unavailable.
        """
        given = {name: value for name, value in params.items() if value is not None}
        if wait is None:
            return self._answer(self._request("GET", path, params=given))
        timeout = httpx.Timeout(TIMEOUT.connect, read=wait + MARGIN_S)
        return self._answer(self._request("GET", path, params=given | {"wait": f"{wait:.3f}"}, timeout=timeout))

    def pages(self, path: str, filters: Mapping[str, Any], size: int) -> Iterator[Json]:
        """All items of a list, a page at a time and only as far as they are taken. Raises as `get` does."""
        cursor: str | None = None
        while True:
            page = self.get(path, **filters, limit=size, cursor=cursor)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def post(self, path: str, body: Json, key: str | None = None) -> Json:
        """As `write`."""
        return self.write("POST", path, body, key)

    def write(self, method: str, path: str, body: Json | None, key: str | None = None) -> Json:
        """With the key of an earlier write, the same answer again; without, it has one of its own for its own repeats.

        Raises BadRequest, Unavailable.
        """
        key = fresh_key() if key is None else key
        if not isinstance(key, str) or not is_header_text(key):
            raise BadRequest(f"The idempotency key {key!a} cannot be sent. Use plain ASCII text without line breaks.")
        return self._answer(self._request(method, path, json=body, headers={"Idempotency-Key": key}))

    def delete(self, path: str) -> Json:
        """Asking again is safe: what is gone stays so. Raises BadRequest, Unavailable."""
        return self._answer(self._request("DELETE", path))

    def send(self, method: str, path: str, content: BinaryIO, media_type: str, **params: Any) -> Json:
        """The rest of an open file, streamed, and anew for each try. Raises BadRequest, Unavailable."""
        start, size = content.tell(), content.seek(0, io.SEEK_END)
        headers = {"Content-Type": media_type, "Content-Length": str(size - start)}

        def request() -> httpx.Request:
            content.seek(start)
            return self._request(method, path, params=params, content=pieces_of(content), headers=headers)

        return self._read(self._send(request))

    def fetch(self, path: str, into: BinaryIO, **params: Any) -> None:
        """The body of an answer, streamed; from the beginning again for each try. Raises BadRequest, Unavailable."""
        given = {name: value for name, value in params.items() if value is not None}

        def received() -> httpx.Response:
            into.seek(0)
            into.truncate()
            with self._http.stream("GET", path, params=given) as response:
                if response.is_error:
                    response.read()
                else:
                    for piece in response.iter_bytes():
                        into.write(piece)
            return response

        response = self._tried(received)
        if response.is_error:
            raise self._problem(response)

    def health(self, path: str) -> tuple[bool, Json]:
        """Whether all is well, and what was answered, asked once: a problem is an answer here. Raises Unavailable."""
        try:
            response = self._http.get(path)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return response.is_success, json_object(response) or {}

    def stream(self, path: str, last_id: str | None, **params: Any) -> Iterator[str]:
        """The lines of a stream of server-sent events. Raises Unavailable when it ends, for whatever cause."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        yield from self.lines(path, headers, **params)
        raise Unavailable(f"The ledger at {self.address.url} has ended the stream.")

    def lines(self, path: str, headers: Mapping[str, str] | None = None, **params: Any) -> Iterator[str]:
        """The lines of an answer that is read as it comes. Raises Unavailable where it breaks off."""
        given = {name: value for name, value in params.items() if value is not None}
        try:
            with self._http.stream("GET", path, headers=headers, params=given) as response:
                if response.is_error:
                    response.read()
                    raise self._problem(response)
                yield from lines_of(response.iter_bytes())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _request(self, method: str, path: str, **content: Any) -> httpx.Request:
        """Raises BadRequest for what JSON or UTF-8 cannot hold."""
        try:
            return self._http.build_request(method, path, **content)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadRequest(f"This cannot be sent to the ledger: {error}") from error

    def _answer(self, request: httpx.Request) -> Json:
        return self._read(self._send(lambda: request))

    def _read(self, response: httpx.Response) -> Json:
        if response.is_error:
            raise self._problem(response)
        body = json_object(response)
        if body is None:
            raise Unavailable(f"What answers at {self.address.url} is not a ledger. Check EXLEDGER_URL.")
        self._tries_max = TRIES_KNOWN_MAX
        return body

    def _send(self, request: Callable[[], httpx.Request]) -> httpx.Response:
        return self._tried(lambda: self._http.send(request()))

    def _tried(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        tries_max = self._tries_max
        for tries in range(1, tries_max + 1):
            try:
                response = ask()
            except httpx.TransportError as error:
                if tries == tries_max:
                    raise self._unreachable(error) from error
                self.pause(pause_s(tries))
            else:
                if response.status_code not in BUSY | GONE or tries == tries_max:
                    return response
                self.pause(pause_s(tries, response.headers.get("Retry-After")))
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            f"No ledger answers at {self.address.url} ({error or type(error).__name__}). "
            "Is it running? Start one with: exledger dev"
        )

    def _problem(self, response: httpx.Response) -> LedgerError:
        if response.status_code in (401, 403):
            given = f"the token in {self.address.token_from}" if self.address.token else "a request without a token"
            said = f"The ledger at {self.address.url} does not accept {given}: {problem_text(response)}"
            return Refused(json_object(response) or {}, f"{said}\n{TOKENS_COME_FROM}")
        if response.status_code in BUSY or response.is_server_error:
            return Unavailable(f"The ledger at {self.address.url} cannot answer now: {problem_text(response)}")
        return Refused(json_object(response) or {}, problem_text(response))


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def fresh_key() -> str:
    return secrets.token_hex(16)


def pause_s(tries: int, retry_after: str | None = None) -> float:
    """What the server asks for, within reason; else exponential."""
    if retry_after and retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), PAUSE_MAX_S)
    return min(PAUSE_FIRST_S * 2.0 ** (tries - 1), PAUSE_MAX_S)


def is_header_text(text: str) -> bool:
    return text.isascii() and text.isprintable()


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines end with a line feed and nothing else: JSON may hold other characters that Python takes for line ends."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = ""
    for piece in pieces:
        *lines, begun = (begun + decoder.decode(piece)).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
        if len(begun) > LINE_CHARS_MAX:
            raise Unavailable(f"A line of the stream is longer than {LINE_CHARS_MAX:,} characters. Check EXLEDGER_URL.")


def json_object(response: httpx.Response) -> Json | None:
    """None where the body is anything else."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def problem_text(response: httpx.Response) -> str:
    """A problem (RFC 9457) as text: what is wrong with each field, or else its detail."""
    problem = json_object(response)
    if not problem:
        return f"HTTP {response.status_code} {response.reason_phrase}"
    if errors := problem.get("errors"):
        return "\n".join([f"{problem.get('title')}:", *(f"  {each['field']}: {each['detail']}" for each in errors)])
    return str(problem.get("detail") or problem.get("title"))
