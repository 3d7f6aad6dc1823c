"""Where a ledger is, and where things are in its API. Imports no HTTP client, so that whoever only asks is quick."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from ...errors import BadRequest, BadSettings, Unavailable
from ...running import TOKEN, Running, running_in

DEFAULT_FOLDER = Path(".execution-ledger")


@dataclass(frozen=True)
class Address:
    """`token_from` says in words where the token came from; `running` is what `dev` says of itself, if it is one."""

    url: str
    token: str = field(repr=False)
    token_from: str
    running: Running | None = None


def find_ledger(folder: Path, environ: Mapping[str, str]) -> Address:
    """The ledger that EXLEDGER_URL names, else the `exledger dev` that holds the folder.

    The default folder is looked for in the working directory and then in its parents. Raises Unavailable where nothing
    runs, BadSettings where its token cannot be read.
    """
    if url := environ.get("EXLEDGER_URL"):
        return Address(url.rstrip("/"), environ.get("EXLEDGER_TOKEN", ""), "EXLEDGER_TOKEN")
    found = _nearest() if folder == DEFAULT_FOLDER else folder.expanduser().absolute()
    running = running_in(found)
    if running is None:
        raise Unavailable(
            f"No ledger runs in {folder}, or it is not ready yet. Start one with: {_dev(folder)}\n"
            "Or name one: the folder of a `dev` by --data-dir or Client(folder=…), or any ledger by EXLEDGER_URL and "
            "EXLEDGER_TOKEN."
        )
    return Address(running.url, _read_token(found / TOKEN), str(found / TOKEN), running)


def execution_path(which: str | int) -> str:
    """`which` is an id, a number or a name."""
    return f"/v1/executions/{_segment(str(which), 'execution: give its id, its number or its name')}"


def batch_path(batch_id: str) -> str:
    return f"/v1/batches/{_segment(batch_id, 'batch')}"


def job_path(job_id: str) -> str:
    return f"/v1/jobs/{_segment(job_id, 'job')}"


def pipeline_path(name: str) -> str:
    return f"/v1/pipelines/{_segment(name, 'pipeline')}"


def entry_path(noun: str, key: str) -> str:
    """Of a template, a twin or an experiment."""
    return f"/v1/{noun}s/{_segment(key, noun)}"


def _segment(text: str, what: str) -> str:
    """Of an address. Raises BadRequest for what would make another one of it: a script's empty variable, above all."""
    if not text.strip() or "/" in text or text in (".", ".."):
        raise BadRequest(f"{text!r} names no {what}.")
    return quote(text, safe="")


def _nearest() -> Path:
    """Like git finds its folder: the nearest one that is there, else the one that `exledger dev` would make here."""
    here = Path.cwd()
    folders = [each / DEFAULT_FOLDER for each in (here, *here.parents)]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _read_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadSettings(f"The ledger's token cannot be read: {error}. Only the user who runs it may.") from error


def _dev(folder: Path) -> str:
    return "exledger dev" if folder == DEFAULT_FOLDER else f"exledger dev --data-dir {shlex.quote(str(folder))}"


def address_of(url: str | None, token: str | None, folder: Path | str | None) -> Address:
    """Of what a program names; what it leaves out is found. Raises Unavailable, BadSettings."""
    environ = {} if folder is not None else dict(os.environ)
    if url is not None:
        environ = {**os.environ, "EXLEDGER_URL": url}
    address = find_ledger(DEFAULT_FOLDER if folder is None else Path(folder), environ)
    return address if token is None else replace(address, token=token, token_from="Client(token=…)")  # noqa: S106
