"""Who runs Postgres, and where its files may lie, when we are root.

Postgres refuses to run as root. Then it runs as `nobody`, the account with the fewest rights that every system has, so
nothing is added to the machine. That account has to reach the files: where it cannot, because some folder above them is
closed to others (/root is), the cluster and a copy of the binaries lie in /var/lib/execution-ledger instead. Not in
/var/tmp, whose old files are swept away one by one.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from pathlib import Path

from ..errors import Permanent

ACCOUNT = "nobody"
ELSEWHERE = Path("/var/lib/execution-ledger")


class NotOurs(Permanent):
    """A folder that we would give to Postgres belongs to somebody else."""


class NoAccount(Permanent):
    """We are root, and there is no other account to run Postgres as."""


def account_for_postgres() -> pwd.struct_passwd | None:
    """None when we are not root, and Postgres can run as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise NoAccount(
            f"Postgres does not run as root, and this machine has no account `{ACCOUNT}` to run it as. "
            "Start as another user than root."
        ) from None


def own(folder: Path, account: pwd.struct_passwd | None) -> None:
    """Makes the folder, for that account alone. Raises NotOurs where it is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is None:
        return
    if folder.is_symlink() or folder.stat().st_uid not in (0, account.pw_uid):
        raise NotOurs(f"{folder} belongs to another user. Start as that user, or choose another data folder.")
    os.chown(folder, account.pw_uid, account.pw_gid)


def reachable_home(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """The folder itself where the account can get there, else one elsewhere that belongs to it by name."""
    if account is None or can_reach(folder, account):
        return folder
    return ELSEWHERE / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]


def reachable_binaries(package: Path, version: str, account: pwd.struct_passwd | None) -> Path:
    """The folder of the programs: in the installed package, or in a copy of it that the account can reach."""
    programs = Path(package.name, "pginstall", "bin")
    if account is None or can_reach(package.parent / programs / "postgres", account):
        return package.parent / programs
    copy = ELSEWHERE / f"postgres-{version}"
    if not copy.exists():
        _copy_package(package, copy)
    return copy / programs


def can_reach(path: Path, account: pwd.struct_passwd) -> bool:
    """By the permission bits of the path and all folders above it that exist already."""
    path = path.resolve()
    return all(_may_pass(each, account) for each in (path, *path.parents) if each.exists())


def _may_pass(path: Path, account: pwd.struct_passwd) -> bool:
    found = path.stat()
    if found.st_uid == account.pw_uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.pw_gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _copy_package(package: Path, copy: Path) -> None:
    """With the libraries that lie beside it; complete or not at all."""
    part = copy.with_name(f"{copy.name}.{os.getpid()}")
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).exists():
            shutil.copytree(package.parent / name, part / name, symlinks=True)
    for path in (part, *part.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        part.rename(copy)
    except OSError:  # another process was faster
        shutil.rmtree(part)
