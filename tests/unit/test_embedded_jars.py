"""The list of pinned jars."""

from __future__ import annotations

import re
from pathlib import Path

from execution_ledger.embedded.jars import KAFKA_VERSION, PINS, class_path, pinned


def test_every_jar_is_pinned_by_version_and_digest() -> None:
    jars = pinned()
    assert len({jar.file_name for jar in jars}) == len(jars) == 46
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in map(str, jars)


def test_the_list_names_no_host() -> None:
    assert "://" not in PINS.read_text("utf-8")


def test_the_class_path_names_each_jar() -> None:
    assert class_path(Path("/jars")).count(".jar") == len(pinned())
