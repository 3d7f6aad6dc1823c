"""Where code comes from, read from real checkouts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from execution_ledger.messages.steps import CodeOrigin
from execution_ledger.sdk.pipelines import origin
from execution_ledger.sdk.pipelines.origin import origin_of, without_credentials


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = folder / "pumps" / "pipelines.py"
        self.code.parent.mkdir()
        self.code.write_text("rate = 1\n")
        (folder / "pyproject.toml").touch()
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "first")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    @property
    def kind(self) -> str:
        return self.origin.kind

    @property
    def origin(self) -> CodeOrigin:
        origin_of.cache_clear()
        return origin_of(str(self.code))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_clean_checkout_of_a_repository_is_named_whole(checkout: Checkout) -> None:
    checkout.git("remote", "add", "origin", "https://ada:secret@example.org/pumps.git")
    assert checkout.origin == CodeOrigin(
        kind="git_repository",
        commit=checkout.git("rev-parse", "HEAD"),
        repository="https://example.org/pumps.git",
        branch="main",
        requirements="pyproject.toml",
    )


def test_what_others_could_not_look_up_is_local(checkout: Checkout) -> None:
    kinds = [checkout.kind]
    checkout.git("remote", "add", "origin", "git@example.org:pumps.git")
    kinds.append(checkout.kind)
    checkout.code.write_text("rate = 2\n")
    kinds.append(checkout.kind)
    assert checkout.origin.commit == checkout.git("rev-parse", "HEAD")
    checkout.git("checkout", "-q", "--", ".")
    (checkout.folder / "notes").touch()
    kinds.append(checkout.kind)
    checkout.git("rm", "-q", "--cached", str(checkout.code))
    checkout.git("commit", "-q", "-m", "forgotten")
    kinds.append(checkout.kind)
    assert kinds == ["local", "git_repository", "local", "git_repository", "local"]


def test_a_detached_head_has_no_branch_and_the_nearest_requirements_count(checkout: Checkout) -> None:
    checkout.git("checkout", "-q", "--detach")
    (checkout.code.parent / "requirements.txt").touch()
    assert (checkout.origin.branch, checkout.origin.requirements) == (None, "pumps/requirements.txt")


def test_without_a_checkout_or_git_it_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    origin_of.cache_clear()
    assert origin_of(str(tmp_path / "pipelines.py")) == CodeOrigin(kind="local")
    monkeypatch.setenv("PATH", "")
    assert origin_of(__file__).commit is None


def test_a_git_that_does_not_answer_is_not_waited_for(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "GIT_S", 0.0)
    assert checkout.origin == CodeOrigin(kind="local", requirements=None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:secret@example.org/pumps.git", "https://example.org/pumps.git"),
        ("https://token@example.org:8443/pumps.git?token=secret#x", "https://example.org:8443/pumps.git"),
        ("ssh://git@example.org/pumps.git", "ssh://example.org/pumps.git"),
        ("git@example.org:pumps.git", "git@example.org:pumps.git"),
        ("/srv/git/pumps.git", "/srv/git/pumps.git"),
        ("https://ada:p@ss@example.org/pumps.git", "https://example.org/pumps.git"),
    ],
)
def test_credentials_are_left_out(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_what_does_not_fit_a_message_is_left_out(checkout: Checkout) -> None:
    checkout.git("remote", "add", "origin", "https://example.org/" + "x" * 300)
    assert (checkout.origin.kind, checkout.origin.repository) == ("local", None)
