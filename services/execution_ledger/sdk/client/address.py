"""Where a ledger is, and where things are in its API. Imports no HTTP client, so that whoever only asks is quick."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from ...errors import BadRequest, BadSettings, Unavailable
from ...running import TOKEN, Running, running_in

URL_LIKE = "http://127.0.0.1:8080"
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
    """`which` is an id, a number or a name. Like those below it raises BadRequest for what cannot be one."""
    return f"/v1/executions/{part(which, 'an execution: use its id, number or name')}"


def batch_path(batch_id: str) -> str:
    return f"/v1/batches/{part(batch_id, 'a batch: use its id')}"


def job_path(job_id: str) -> str:
    return f"/v1/jobs/{part(job_id, 'a job: use its id')}"


def pipeline_path(name: str) -> str:
    return f"/v1/pipelines/{part(name, 'a pipeline')}"


def entry_path(noun: str, key: str) -> str:
    """Of a template, a twin or an experiment."""
    return f"/v1/{noun}s/{part(key, f'a {noun}')}"


def part(named: object, what: str) -> str:
    """One step of a path. Raises BadRequest for what would lead elsewhere: a script's empty variable, above all."""
    text = str(named) if isinstance(named, str | int) and not isinstance(named, bool) else ""
    with contextlib.suppress(UnicodeEncodeError):
        if text.strip() and "/" not in text and text not in (".", ".."):
            return quote(text, safe="")
    raise BadRequest(f"{named!a} cannot name {what}.")


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
    if url is not None and not (isinstance(url, str) and url):
        raise BadSettings(f"Client was given the URL {url!a:.100}: write it like {URL_LIKE}, or leave it out.")
    environ = {} if folder is not None else dict(os.environ)
    if url is not None:
        environ = {**os.environ, "EXLEDGER_URL": url}
    address = find_ledger(DEFAULT_FOLDER if folder is None else Path(folder), environ)
    return address if token is None else replace(address, token=token, token_from="Client(token=…)")  # noqa: S106
