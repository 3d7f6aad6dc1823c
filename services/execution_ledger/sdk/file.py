"""A file: what a pipeline takes in and gives back where a value is too large for the ledger, or is none of JSON.

return {"report": File("report.html")}
run.wait().outputs["report"].save(".")
"""

from __future__ import annotations

import contextlib
import io
import mimetypes
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from ..errors import BadRequest
from ..messages.files import MEDIA_TYPE, FileRef

Fetch = Callable[[BinaryIO], None]  # writes all of it, or raises


class File:
    """One on this machine, or one that the ledger keeps: its bytes come when they are first asked for.

    Getting them blocks: async code calls `await asyncio.to_thread(file.path)`.
    """

    def __init__(self, path: Path | str, *, name: str | None = None, media_type: str | None = None) -> None:
        """It is read when the pipeline returns it: whatever the path leads to then is what is kept."""
        self._path: Path | None = Path(path)
        self.name = self._path.name if name is None else name
        self.media_type = media_type or media_type_of(self.name)
        self.ref: FileRef | None = None
        self._fetch: Fetch | None = None

    @classmethod
    def kept(cls, ref: FileRef, fetch: Fetch) -> File:
        """One that the ledger keeps under its content."""
        file = cls.fetched(ref.name, fetch, ref.media_type)
        file.ref = ref
        return file

    @classmethod
    def fetched(cls, name: str, fetch: Fetch, media_type: str | None = None) -> File:
        """One whose bytes come from elsewhere."""
        file = cls(name, media_type=media_type)
        file._path, file._fetch = None, fetch
        return file

    def __repr__(self) -> str:
        return f"File({self.name!r})" if self.ref is None else f"File({self.name!r}, {self.ref.size:,} bytes)"

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: in another process there is no ledger to ask for its bytes."""
        return self.__dict__ | ({"_path": None, "_fetch": partial(_out_of_reach, self.name)} if self._fetch else {})

    def __deepcopy__(self, memo: object) -> Self:
        """Here there is, and its bytes never change."""
        return self

    def path(self) -> Path:
        """Where it is on this machine. Of one that was fetched it is gone when this object is: `save` what is to stay.

        Raises Unavailable, or NoSuchObject where it is kept no longer.
        """
        if self._path is None:
            folder = Path(tempfile.mkdtemp(prefix="exledger-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._path = self._fetched(folder / self.name)
        return self._path

    def open(self) -> BinaryIO:
        """For reading bytes. Raises as `path` does."""
        return self.path().open("rb")

    def read_bytes(self) -> bytes:
        """All of it in memory. Raises as `path` does."""
        return self.path().read_bytes()

    def save(self, folder: Path | str = ".") -> Path:
        """Writes it there under its name, whole or not at all; returns where. Raises as `path` does, and OSError."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        return self._fetched(target / self.name)

    def _fetched(self, target: Path) -> Path:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".exledger-", delete=False) as part:
            try:
                self._write(cast(BinaryIO, part))
            except BaseException:
                Path(part.name).unlink()
                raise
        return Path(part.name).replace(target)

    def _write(self, into: BinaryIO) -> None:
        if self._path is not None:
            with self._path.open("rb") as source:
                shutil.copyfileobj(source, into)
        elif self._fetch is not None:
            self._fetch(into)


def _out_of_reach(name: str, into: BinaryIO) -> None:
    raise BadRequest(f"{name} came from another process, without its bytes: ask a Client here for its execution.")


def media_type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or MEDIA_TYPE


def opened(source: Path | str | BinaryIO | File) -> BinaryIO:
    """For reading bytes. Raises BadRequest, saying which, where that cannot be."""
    if isinstance(source, io.TextIOBase):
        raise BadRequest(f"{getattr(source, 'name', 'The file')} was opened as text. Open it for bytes: mode 'rb'.")
    try:
        if isinstance(source, File):
            return source.open()
        if isinstance(source, Path | str):
            return Path(source).open("rb")
    except OSError as error:
        raise BadRequest(f"The file cannot be read: {error}. Paths start at {Path.cwd()}.") from error
    if not hasattr(source, "read"):
        raise BadRequest(f"{source!r:.100} is no file: give its path, the open file, or a File.")
    return source


@contextlib.contextmanager
def reading(source: Path | str | BinaryIO | File) -> Iterator[BinaryIO]:
    """`opened` for as long as it is sent, and closed; what the caller has opened stays so, and where it was.

    Raises BadRequest, too, where it could not be sent anew after a broken connection.
    """
    content = opened(source)
    if content is not source:
        with content:
            yield content
        return
    try:
        start = content.seek(content.tell())
    except (AttributeError, OSError, ValueError) as error:
        raise BadRequest(
            f"{getattr(source, 'name', 'The file')!r:.100} cannot be read from its beginning again ({error}): "
            "give a file that is open, or what was read of it as io.BytesIO(…)."
        ) from error
    yield content
    content.seek(start)
