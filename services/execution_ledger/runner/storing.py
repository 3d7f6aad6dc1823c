"""The object store as the code of one attempt has it, and the files that go into the code and come out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, BinaryIO, Protocol, TypeVar

from execution_ledger.clock import Spawn
from execution_ledger.errors import BadRequest, LedgerError, StoreAway
from execution_ledger.files import Kept, pieces_in, pieces_of
from execution_ledger.messages.definition import Definition
from execution_ledger.messages.files import FileRef, references_in, wrong_reference
from execution_ledger.sdk.file import File, opened

NO_STORE = "This runner has no object store: set EXLEDGER__OBJECTS__URL."
REST_S = 5.0  # how long what code that has failed has recorded may still take

T = TypeVar("T")


class FilesLent(Protocol):
    """As `files.Files` has them."""

    async def keep(self, pieces: AsyncIterable[bytes]) -> Kept: ...

    def pieces(self, sha256: str) -> AsyncGenerator[bytes, None]: ...


class DataLent(Protocol):
    """As `data.Data` has them."""

    async def put(self, path: str, pieces: AsyncIterable[bytes]) -> Kept: ...

    def pieces(self, path: str) -> AsyncGenerator[bytes, None]: ...

    async def sizes(self, prefix: str = "") -> Mapping[str, int]: ...

    async def delete(self, path: str) -> bool: ...


class AttemptStore:
    """`keep` and what blocks are for the code; the rest is for the runner, on the loop.

    Without a store it says so when it is asked for something.
    """

    def __init__(self, files: FilesLent | None, data: DataLent | None, spawn: Spawn) -> None:
        self._lent_files = files
        self._lent_data = data
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._beside: list[asyncio.Task[None]] = []

    # --- for the code ---------------------------------------------------------------------------------------------

    def keep(self, content: bytes | BinaryIO, then: Callable[[str, int], None]) -> None:
        if self._on_loop():
            self._beside.append(self._spawn(self._keep(content, then), "keeping a file"))
        else:
            self._wait(self._keep(content, then))

    def fetch(self, ref: FileRef, into: BinaryIO) -> None:
        self._wait(_written(self._files.pieces(ref.sha256), into))

    def put_data(self, path: str, content: bytes | BinaryIO) -> None:
        self._wait(self._data.put(path, _pieces(content)))

    def fetch_data(self, path: str, into: BinaryIO) -> None:
        self._wait(_written(self._data.pieces(path), into))

    def data(self, prefix: str) -> Mapping[str, int]:
        return self._wait(self._data.sizes(prefix))

    def delete_data(self, path: str) -> None:
        self._wait(self._data.delete(path))

    # --- for the runner -------------------------------------------------------------------------------------------

    def taken_in(self, definition: Definition, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as the code gets them."""
        ports = definition.inputs
        refs = {name: ref for name, ref in references_in(inputs).items() if ports[name].type == "file"}
        return inputs | {name: self._file(ref) for name, ref in refs.items()}

    def with_files(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """What a step has returned, as the code of another one gets it."""
        return outputs | {name: self._file(ref) for name, ref in references_in(outputs).items()}

    async def given_back(self, value: Any) -> Any:
        """The outputs with references in place of files. Raises StoreAway, and BadRequest for one that is not there."""
        if not has_files(value):
            return value
        return {name: await self._reference(name, one) if isinstance(one, File) else one for name, one in value.items()}

    def given_back_now(self, value: Any) -> Any:
        """The same, from a thread."""
        return self._wait(self.given_back(value)) if has_files(value) else value

    async def settle(self) -> None:
        """Until all is kept that goes on beside the code. Raises what the first of it fails with."""
        while self._beside:
            await self._beside[0]
            self._beside.pop(0)

    async def rest(self) -> None:
        """After code that has failed: a moment for what it has recorded."""
        if self._beside:
            await asyncio.wait(self._beside, timeout=REST_S)
        self.stop()

    def stop(self) -> None:
        for task in self._beside:
            task.cancel()
        self._beside.clear()

    # --- mechanics ------------------------------------------------------------------------------------------------

    def _file(self, ref: FileRef) -> File:
        return File.kept(ref, lambda into: self.fetch(ref, into))

    async def _reference(self, name: str, file: File) -> dict[str, Any]:
        if file.ref is None:
            source = await asyncio.to_thread(_output, name, file)
            sha256, size = await _explained(self._files.keep(_pieces(source)))
            made = {"sha256": sha256, "size": size, "media_type": file.media_type, "name": file.name}
            if wrong := wrong_reference(made):
                raise BadRequest(f"its output {name!r} {wrong}")
            file.ref = FileRef.model_validate(made)
        return file.ref.model_dump()

    async def _keep(self, content: bytes | BinaryIO, then: Callable[[str, int], None]) -> None:
        kept = await _explained(self._files.keep(_pieces(content)))
        then(kept.sha256, kept.size)

    @property
    def _files(self) -> FilesLent:
        if self._lent_files is None:
            raise StoreAway(NO_STORE)
        return self._lent_files

    @property
    def _data(self) -> DataLent:
        if self._lent_data is None:
            raise StoreAway(NO_STORE)
        return self._lent_data

    def _on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises BadRequest on the loop, which would wait for itself."""
        if self._on_loop():
            work.close()
            raise BadRequest("This waits for the object store. In async code call it by `await asyncio.to_thread(…)`.")
        return asyncio.run_coroutine_threadsafe(_explained(work), self._loop).result()


def has_files(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(one, File) for one in value.values())


def _output(name: str, file: File) -> BinaryIO:
    try:
        return opened(file)
    except BadRequest as error:
        raise BadRequest(f"its output {name!r} is not there. {error}") from error


async def _explained(work: Coroutine[Any, Any, T]) -> T:
    """What is not the code's own fault is the infrastructure's. Raises StoreAway for that."""
    try:
        return await work
    except BadRequest:
        raise
    except LedgerError as error:
        raise StoreAway(f"The object store failed: {error}") from error


async def _pieces(content: bytes | BinaryIO) -> AsyncGenerator[bytes, None]:
    """An open file is closed at its end."""
    if isinstance(content, bytes):
        async for piece in pieces_in(content):
            yield piece
    else:
        with content:
            async for piece in pieces_of(content):
                yield piece


async def _written(pieces: AsyncGenerator[bytes, None], into: BinaryIO) -> None:
    async with aclosing(pieces) as found:
        async for piece in found:
            await asyncio.to_thread(into.write, piece)
