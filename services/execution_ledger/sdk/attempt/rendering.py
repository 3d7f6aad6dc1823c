"""What code draws and tabulates, as bytes that others can show. No library is imported: each writes its own figures."""

from __future__ import annotations

import csv
import io
import pickle
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from execution_ledger.messages.files import MEDIA_TYPE

from ..file import File, media_type_of, opened

HTML, PNG, CSV, PICKLE = "text/html", "image/png", "text/csv", "application/x-pickle"

_BEGINNINGS = {
    b"\x89PNG": PNG,
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"%PDF": "application/pdf",
    b"<svg": "image/svg+xml",
    b"<": HTML,
}


class Rendered(NamedTuple):
    """`content` is an open file where it may be large."""

    content: bytes | BinaryIO
    media_type: str


def plot_of(figure: Any) -> Rendered:
    """A figure of Plotly, Altair, Matplotlib or the like; an image of Pillow, as bytes or in a file; HTML as text.

    Raises TypeError for anything else, BadRequest for a file that cannot be read.
    """
    if isinstance(figure, bytes):
        return Rendered(figure, _sniffed(figure))
    if isinstance(figure, str) and "<" in figure:
        return Rendered(figure.encode(), HTML)
    if isinstance(figure, str | Path | File):
        return file_of(figure)
    if hasattr(figure, "to_html"):
        return Rendered(_html(figure).encode(), HTML)
    if hasattr(figure, "savefig"):
        return Rendered(_saved(figure.savefig, format="png"), PNG)
    if hasattr(getattr(figure, "figure", None), "savefig"):  # axes of Matplotlib
        return plot_of(figure.figure)
    if _comes_from(figure, "PIL"):
        return Rendered(_saved(figure.save, format="PNG"), PNG)
    raise TypeError(
        f"{type(figure).__name__} is no plot. Give a figure of Plotly, Altair or Matplotlib, an image (of Pillow, as "
        "bytes, or its Path), or HTML as text."
    )


def table_of(rows: Any) -> Rendered:
    """CSV with a header: of a data frame of pandas or Polars, of dicts, or of sequences whose first is the header."""
    if hasattr(rows, "write_csv"):
        return Rendered(str(rows.write_csv()).encode(), CSV)
    if hasattr(rows, "to_csv"):
        return Rendered(str(rows.to_csv(index=False)).encode(), CSV)
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping):
        return Rendered(_csv(list(rows)).encode(), CSV)
    raise TypeError(f"{type(rows).__name__} is no table. Give a data frame, or a list of dicts or of sequences.")


def model_of(model: Any) -> Rendered:
    """A file by its Path, bytes, or any object that can be pickled: load only what you trust."""
    if isinstance(model, bytes | str | Path | File):
        return file_of(model)
    pickled = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    pickle.dump(model, pickled)
    pickled.seek(0)
    return Rendered(pickled, PICKLE)


def file_of(source: bytes | str | Path | File, called: str = "") -> Rendered:
    """Opened at once: it may be deleted behind this call. What bytes are their name tells, or else their beginning."""
    if isinstance(source, bytes):
        named = media_type_of(called)
        return Rendered(source, _sniffed(source) if named == MEDIA_TYPE else named)
    name = source.name if isinstance(source, File | Path) else source
    media_type = source.media_type if isinstance(source, File) else media_type_of(name)
    return Rendered(opened(source), media_type)


def _html(figure: Any) -> str:
    """Plotly's script goes into the page, so that it can be read years later and without a network."""
    return str(figure.to_html(include_plotlyjs=True) if _comes_from(figure, "plotly") else figure.to_html())


def _saved(save: Any, **options: Any) -> bytes:
    into = io.BytesIO()
    save(into, **options)
    return into.getvalue()


def _csv(rows: Sequence[Any]) -> str:
    into = io.StringIO()
    if rows and all(isinstance(row, Mapping) for row in rows):
        columns = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(into, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        csv.writer(into, lineterminator="\n").writerows(rows)
    return into.getvalue()


def _sniffed(content: bytes) -> str:
    found = (media_type for beginning, media_type in _BEGINNINGS.items() if content.startswith(beginning))
    return next(found, MEDIA_TYPE)


def _comes_from(value: Any, package: str) -> bool:
    return type(value).__module__.partition(".")[0] == package
