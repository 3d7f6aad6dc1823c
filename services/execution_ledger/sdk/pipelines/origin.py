"""Where code comes from: the commit, repository and branch of the checkout that its file lies in.

Asked of `git` itself, within bounds; where it is missing, or does not answer in time, the code is `local`. So it is
where the checkout has changes or names no repository: nobody else could look up what ran.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from execution_ledger.messages.steps import CodeOrigin

GIT_S = 2.0  # for each question
TEXT_CHARS_MAX = 255  # the cap of messages
REQUIREMENTS = ("requirements.txt", "pyproject.toml")


@lru_cache(maxsize=1_000)
def origin_of(file: str) -> CodeOrigin:
    """Once for each file in the life of a process: what it has loaded stays what it is."""
    path = Path(file).resolve()
    top, commit = _checkout(path.parent)
    requirements = _requirements(path.parent, top or path.parent)
    if top is None:
        return CodeOrigin(kind="local", requirements=requirements)
    repository = _text(without_credentials(_git(top, "remote", "get-url", "origin") or ""))
    is_clean = _git(top, "status", "--porcelain", "--untracked-files=no") == ""
    is_in_it = _git(top, "ls-files", "--error-unmatch", "--", str(path)) is not None
    return CodeOrigin(
        kind="git_repository" if repository and is_clean and is_in_it else "local",
        commit=commit,
        repository=repository,
        branch=_text(_git(top, "symbolic-ref", "--short", "-q", "HEAD")),
        requirements=requirements,
    )


def without_credentials(url: str) -> str:
    """`https://user:secret@host/path?token=…` is `https://host/path`; `git@host:path`, which is no URL, stays."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _checkout(folder: Path) -> tuple[Path | None, str | None]:
    lines = (_git(folder, "rev-parse", "--show-toplevel", "HEAD") or "").splitlines()
    return (Path(lines[0]), lines[1]) if len(lines) == 2 else (None, None)


def _requirements(folder: Path, top: Path) -> str | None:
    """The nearest file that names what the code needs, from its folder up to the top of its checkout."""
    for place in (folder, *folder.parents):
        for name in REQUIREMENTS:
            if (place / name).is_file():
                return _text(str((place / name).relative_to(top)))
        if place == top:
            break
    return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What it prints; None where it says no, is not there, or takes too long."""
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - the program is git, and no argument is anybody else's
            command, capture_output=True, text=True, timeout=GIT_S, env=environ, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _text(value: str | None) -> str | None:
    """What does not fit into a message is left out rather than cut: half a URL is a wrong one."""
    return value if value and len(value) <= TEXT_CHARS_MAX and not re.search(r"[\x00-\x1f\x7f]", value) else None
