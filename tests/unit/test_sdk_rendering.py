"""What becomes of figures, tables and models: bytes and a media type, as each library writes its own."""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from execution_ledger.errors import BadRequest
from execution_ledger.messages.files import file_name
from execution_ledger.sdk.attempt.rendering import file_of, model_of, plot_of, table_of
from execution_ledger.sdk.file import File

PNG = b"\x89PNG rest"


class Chart:
    """As one of Altair says what it is."""

    def to_html(self) -> str:
        return "<html>chart</html>"


class Figure:
    """As one of Matplotlib writes itself."""

    def savefig(self, into: BinaryIO, format: str) -> None:  # noqa: A002 - as Matplotlib names it
        into.write(PNG + format.encode())


class Axes:
    figure = Figure()


class Frame:
    def to_csv(self, index: bool) -> str:
        return "a\n1\n"


class PolarsFrame:
    def write_csv(self) -> str:
        return "a\n2\n"


class Image:
    """As one of Pillow does."""

    def save(self, into: BinaryIO, **options: str) -> None:
        into.write(b"image " + options["format"].encode())


Image.__module__ = "PIL.Image"


@pytest.mark.parametrize(
    ("figure", "content", "media_type"),
    [
        (Chart(), b"<html>chart</html>", "text/html"),
        (Figure(), PNG + b"png", "image/png"),
        (Axes(), PNG + b"png", "image/png"),
        (Image(), b"image PNG", "image/png"),
        ("<p>text</p>", b"<p>text</p>", "text/html"),
        (PNG, PNG, "image/png"),
        (b"<svg></svg>", b"<svg></svg>", "image/svg+xml"),
        (b"\x00", b"\x00", "application/octet-stream"),
    ],
)
def test_a_plot_is_written_as_its_library_does(figure: Any, content: bytes, media_type: str) -> None:
    assert plot_of(figure) == (content, media_type)


def test_a_figure_of_plotly_is_a_page_that_needs_no_network() -> None:
    plotly = import_module("plotly.graph_objects")
    content, media_type = plot_of(plotly.Figure(data=[plotly.Scatter(y=[1, 3, 2])]))
    assert media_type == "text/html"
    assert isinstance(content, bytes)
    assert b"plotly.js v" in content
    assert b'src="https://cdn' not in content


def test_an_image_in_a_file_may_be_deleted_behind_the_call(tmp_path: Path) -> None:
    path = tmp_path / "trend.png"
    path.write_bytes(PNG)
    content, media_type = plot_of(path)
    path.unlink()
    assert media_type == "image/png"
    assert not isinstance(content, bytes)
    with content:
        assert content.read() == PNG


@pytest.mark.parametrize(
    ("rows", "content"),
    [
        (Frame(), b"a\n1\n"),
        (PolarsFrame(), b"a\n2\n"),
        ([{"a": 1}, {"b": 'x,"y"'}], b'a,b\n1,\n,"x,""y"""\n'),
        ([("a", "b"), (1, 2)], b"a,b\n1,2\n"),
        ([], b""),
    ],
)
def test_a_table_is_csv_with_a_header(rows: Any, content: bytes) -> None:
    assert table_of(rows) == (content, "text/csv")


def test_a_model_is_a_file_bytes_or_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    content, media_type = model_of(tmp_path / "model.json")
    assert media_type == "application/json"
    assert not isinstance(content, bytes)
    content.close()
    assert model_of(b"raw").content == b"raw"
    content, media_type = model_of({"weights": [1, 2]})
    assert not isinstance(content, bytes)
    with content:
        assert pickle.load(content) == {"weights": [1, 2]}
    assert media_type == "application/x-pickle"


def test_what_cannot_be_drawn_or_tabulated_is_refused_with_what_can() -> None:
    with pytest.raises(TypeError, match=r"int is no plot\. Give a figure of Plotly"):
        plot_of(3)
    with pytest.raises(TypeError, match="str is no table"):
        table_of("a,b")
    with pytest.raises(BadRequest, match=r"nowhere\.png"):
        plot_of("nowhere.png")
    with pytest.raises(BadRequest, match="nowhere"):
        file_of(File("nowhere"))


def test_bytes_are_what_their_name_says_or_else_how_they_begin() -> None:
    assert file_of(b"<1>,2", "rows.csv").media_type == "text/csv"
    assert file_of(b"<p>", "page").media_type == "text/html"
    assert file_of(b"\x00", "raw").media_type == "application/octet-stream"


def test_what_is_saved_has_the_ending_of_its_media_type() -> None:
    assert file_name("trend", "text/html") == "trend.html"
    assert file_name("trend.html", "text/html; charset=utf-8") == "trend.html"
    assert file_name("attempt-1", "application/x-ndjson") == "attempt-1.ndjson"
    assert file_name("raw", "application/octet-stream") == "raw"
