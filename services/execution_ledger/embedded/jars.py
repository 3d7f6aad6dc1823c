"""The jars of the Kafka broker: pinned by version and sha256, fetched once per user, checked at every start.

No Python package carries the broker, so jgo fetches its jars from Maven repositories. What they must be is pinned in
kafka_jars.txt, so a damaged, half-finished or exchanged jar is noticed whoever damaged it, and fetched again. jgo
downloads into a folder of ours, never into the shared ~/.m2: what lies there cannot hurt.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import Permanent
from .extra import extra

KAFKA_VERSION = "4.3.1"
PINS = Path(__file__).with_name("kafka_jars.txt")
DOWNLOADS_AT_ONCE = 8
DOWNLOAD_TRIES = 2

Progress = Callable[[int, int], None]


class JarsUnavailable(Permanent):
    """The broker's jars could not be fetched, or are not what they must be."""


@dataclass(frozen=True, slots=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def is_whole(self, folder: Path) -> bool:
        path = folder / self.file_name
        return path.is_file() and sha256_of(path) == self.sha256


def pinned(path: Path = PINS) -> tuple[Jar, ...]:
    rows = (row.split() for row in path.read_text("utf-8").splitlines() if not row.startswith("#"))
    pins = ((*coordinate.split(":"), sha256) for coordinate, sha256 in rows)
    return tuple(Jar(group, artifact, version, sha256) for group, artifact, version, sha256 in pins)


def ensure_jars(cache: Path | None = None, progress: Progress | None = None, pins: Path = PINS) -> Path:
    """A folder that holds exactly the pinned jars, each checked against its sha256; blocks while it downloads.

    `cache` is where this user's caches of this program live. `progress` is called with (jars done, jars to fetch), and
    not at all when nothing is missing. Raises JarsUnavailable.
    """
    jars = pinned(pins)
    folder = (cache or user_cache()) / f"kafka-{KAFKA_VERSION}"
    if _is_exact(folder, jars):
        return folder
    try:
        with _one_at_a_time(folder):
            _repair(folder, jars, progress or (lambda done, total: None))
    except OSError as error:
        raise JarsUnavailable(
            f"The broker's jars cannot be kept in {folder}: {error}. "
            "Free some space, or set XDG_CACHE_HOME to a folder that you may write."
        ) from error
    return folder


def class_path(folder: Path, pins: Path = PINS) -> str:
    return os.pathsep.join(str(folder / jar.file_name) for jar in pinned(pins))


def user_cache() -> Path:
    """By the XDG base directory specification."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "execution-ledger"


def _is_exact(folder: Path, jars: tuple[Jar, ...]) -> bool:
    return folder.is_dir() and not _strangers(folder, jars) and all(jar.is_whole(folder) for jar in jars)


def _strangers(folder: Path, jars: tuple[Jar, ...]) -> list[Path]:
    expected = {jar.file_name for jar in jars}
    return [path for path in folder.iterdir() if path.name not in expected]


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """The second of two processes waits here and then finds the first one's jars."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _repair(folder: Path, jars: tuple[Jar, ...], progress: Progress) -> None:
    for stranger in _strangers(folder, jars):
        stranger.unlink()
    missing = [jar for jar in jars if not jar.is_whole(folder)]
    staging = folder.with_name(f"{folder.name}.download")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _fetch_all(missing, folder, staging, progress)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch_all(missing: list[Jar], folder: Path, staging: Path, progress: Progress) -> None:
    progress(0, len(missing))
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        try:
            fetches = [pool.submit(_fetch, jar, folder, staging) for jar in missing]
            for done, fetch in enumerate(as_completed(fetches), start=1):
                fetch.result()
                progress(done, len(missing))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch(jar: Jar, folder: Path, staging: Path) -> None:
    cause = ""
    for attempt in range(DOWNLOAD_TRIES):
        try:
            downloaded = _download(jar, staging / str(attempt))
        except (OSError, RuntimeError) as error:  # of requests, and jgo's answer to anything but a 200
            cause = str(error)
            continue
        found = sha256_of(downloaded)
        if found == jar.sha256:
            downloaded.replace(folder / jar.file_name)
            return
        cause = f"its sha256 is {found}, and must be {jar.sha256}"
    raise JarsUnavailable(
        f"The jar {jar} could not be fetched: {cause}. The embedded broker needs it once. Check the network, "
        "the proxy (HTTPS_PROXY) and, where Maven repositories are mirrored, `central` under [repositories] in jgo's "
        f"settings file; or copy {folder} from a machine that has it. Then start again: what is there is kept."
    )


def _download(jar: Jar, repository: Path) -> Path:
    """Into a repository that does not hold it yet. Raises OSError or RuntimeError."""
    maven, settings = extra("jgo.maven"), extra("jgo.config")
    context = maven.MavenContext(repo_cache=repository)
    context.remote_repos.update(settings.GlobalSettings.load().repositories)
    path = context.create_dependency(str(jar)).artifact.resolve()
    if not isinstance(path, Path):
        raise OSError(f"{jar} was not found")
    return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
