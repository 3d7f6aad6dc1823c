"""`exledger artifacts` and `exledger models`: what executions have recorded, shown or saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER, execution_path
from .connection import DataDir, connect
from .executions import PAGE_MAX, Which
from .terminal.output import AsJson, bars, date_time, show_json_lines, show_note, show_table, size_text

if TYPE_CHECKING:
    from ..sdk.client.http import Connection
    from ..sdk.file import File

Save = Annotated[Path | None, typer.Option(metavar="DIR", help="Save all of it there.")]


def artifacts(
    which: Which,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")] = None,
    save: Save = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show what an execution has recorded, and the files among its outputs; or save all of it."""
    with connect(data_dir) as ledger:
        lines = _lines(ledger, which, name)
        if save is not None:
            lines = _saved(ledger, lines, save, quiet=as_json)
    if as_json:
        show_json_lines(lines)
        return
    columns = ("NAME", "KIND", "SIZE", "MEDIA TYPE", "ATTEMPT", "STEP", *(("SAVED",) if save else ()))
    show_table(columns, [_row(line, saved=save is not None) for line in lines])
    if not lines:
        show_note("It has recorded nothing yet.")
    elif save is None:
        show_note(f"To get them: exledger artifacts {which} --save DIR")


def models(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="Only of this key.")] = None,
    version: Annotated[str | None, typer.Option(help="With --save: by default the newest.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only of this pipeline.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="With KEY: save the model there.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List trained models by key and version, or save one."""
    with connect(data_dir) as ledger:
        if save is not None:
            _save_model(ledger, key, version, save)
            return
        found = list(ledger.pages("/v1/models", {"key": key, "pipeline": pipeline}, PAGE_MAX))
    if as_json:
        show_json_lines(found)
        return
    show_table(("KEY", "VERSION", "EXECUTION", "TWIN", "SIZE", "RECORDED"), [_model_row(each) for each in found])
    if not found:
        show_note("There is none. A pipeline records one with ctx.model(key, model), where its option train is on.")


def _lines(ledger: Connection, which: str, name: str | None) -> list[dict[str, Any]]:
    """Of each name the newest, in each step; file outputs come last, as of the kind `output`. Raises BadRequest."""
    from ..messages.files import references_in
    from ..sdk.client.kept import file_of, recorded, told_apart

    record = ledger.get(execution_path(which))
    lines = [{**line, "file": file_of(line)} for line in recorded(ledger, which)] + [
        {"name": output, "kind": "output", "attempt": record["attempt"], "step": None, "file": ref.name}
        | ref.model_dump(include={"sha256", "size", "media_type"})
        for output, ref in references_in(record["outputs"]).items()
    ]
    for line, file in zip(lines, told_apart([(_origin(line), line["file"]) for line in lines]), strict=True):
        line["file"] = file
    named = [line for line in lines if name in (None, line["name"])]
    if name is not None and not named:
        raise BadRequest(f"{which} has recorded nothing named {name}. What there is: exledger artifacts {which}")
    return named


def _origin(line: dict[str, Any]) -> str:
    return str(line["name"] if line["kind"] == "output" else line["step"] or line["kind"])


def _saved(ledger: Connection, lines: list[dict[str, Any]], folder: Path, *, quiet: bool) -> list[dict[str, Any]]:
    with bars(quiet) as tell:
        for place, line in enumerate(lines, 1):
            line["saved"] = str(_file(ledger, line).save(folder))
            tell("saving", place, len(lines))
    return lines


def _file(ledger: Connection, line: dict[str, Any]) -> File:
    from ..messages.files import FileRef
    from ..sdk.client.kept import fetching
    from ..sdk.file import File

    ref = FileRef(sha256=line["sha256"], size=line["size"], media_type=line["media_type"], name=line["file"])
    return File.kept(ref, fetching(ledger, ref))


def _save_model(ledger: Connection, key: str | None, version: str | None, folder: Path) -> None:
    from ..sdk.client.kept import model_file

    if key is None:
        raise typer.BadParameter("name the KEY of the model to save")
    show_note(f"saved {model_file(ledger, key, version).save(folder)}")


def _row(line: dict[str, Any], *, saved: bool) -> tuple[Any, ...]:
    told = (line["name"], line["kind"], size_text(line["size"]), line["media_type"], line["attempt"], line["step"])
    return (*told, line["saved"]) if saved else told


def _model_row(model: dict[str, Any]) -> tuple[Any, ...]:
    told = (model["key"], model["version"], model["execution"], model["twin"], size_text(model["size"]))
    return (*told, date_time(model["recorded_at"]))
