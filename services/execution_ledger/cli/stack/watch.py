"""What befalls the servers and services of a `dev`: told as it happens, with the reason as far as it is known."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

from ...embedded.process import ChildSpec, last_lines
from ...embedded.supervisor import What, ended
from ...errors import BadSettings, Permanent
from ..terminal.output import CANNOT_BE_DONE, show_note
from .screen import show_service

DEATHS_MAX = 3  # of one service before the start counts as failed
WORDS_AGAIN = 12  # deaths with the same last words until they are shown again: about a minute
WORDS_CHARS_MAX = 2_000
LOG_BYTES_MAX = 64_000  # the end of a log in which they are looked for
DISK_FULL_BYTES = 1_000_000  # no server can work with less
ERROR = "Error: "  # how every command begins what went wrong


class NotReady(Permanent):
    """The services did not come up."""


class Watch:
    """Shows what befalls servers and services, and counts the services' deaths until the start is over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs: dict[str, Path] = {}
        self._read: dict[str, int] = {}
        self._deaths = Counter[str]()
        self._words: dict[str, str] = {}
        self._same = Counter[str]()
        self._hopeless: str | None = None

    def follow(self, specs: list[ChildSpec]) -> None:
        """From now on, what these write into their logs."""
        self._logs = {spec.name: spec.log_path for spec in specs if spec.log_path}
        self._read = {name: _size(log) for name, log in self._logs.items()}

    def tell(self, name: str, what: What, detail: str) -> None:
        show_service(name, what, detail)
        if what == "died":
            self._deaths[name] += 1
            self._show(name, self._full_disk() or self._last_words(name))
            if name in self._logs and detail == ended(CANNOT_BE_DONE):
                self._hopeless = name

    def check(self) -> None:
        """Raises BadSettings when a service cannot run as it is, NotReady when one dies again and again."""
        if self._hopeless:
            raise BadSettings(f"The {self._hopeless} cannot run. {self._words[self._hopeless]}")
        for name, log in self._logs.items():
            if self._deaths[name] >= DEATHS_MAX:
                raise NotReady(f"The {name} dies again and again. The end of {log}:\n{last_lines(log)}")

    def _show(self, name: str, words: str) -> None:
        """Not each time while it dies of the same again and again."""
        self._same[name] = self._same[name] + 1 if words == self._words.get(name) else 0
        self._words[name] = words
        if words and self._same[name] % WORDS_AGAIN == 0:
            show_note(words)

    def _last_words(self, name: str) -> str:
        if (log := self._logs.get(name)) is None:
            return ""
        begin, self._read[name] = self._read[name], _size(log)
        return last_words(log, begin)

    def _full_disk(self) -> str:
        if shutil.disk_usage(self._folder).free > DISK_FULL_BYTES:
            return ""
        return (
            f"The disk of {self._folder} is full. Free some space: what stopped goes on by itself, and nothing is lost."
        )


def last_words(log: Path, begin: int) -> str:
    """Why a process ended, as far as its log tells from a position on; empty where it did not say."""
    with log.open("rb") as file:
        file.seek(max(begin, _size(log) - LOG_BYTES_MAX))
        text = file.read().decode("utf-8", "replace").rstrip()
    _, error, words = f"\n{text}".rpartition(f"\n{ERROR}")
    return (words if error else _of_a_record(text))[:WORDS_CHARS_MAX]


def _of_a_record(text: str) -> str:
    """The last line, if it is a log record that says why the process ends."""
    try:
        record = json.loads(text.rpartition("\n")[2])
        return str(record["event"]) if record["level"] == "critical" else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
