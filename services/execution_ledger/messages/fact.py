"""What every fact is. A module of its own, so that facts can be spread over several."""

from __future__ import annotations

from typing import ClassVar

from .base import Message


class Fact(Message):
    """What happened, without its envelope: this is what deciders return and folds read."""

    TYPE: ClassVar[str]  # noun.verb.version, without the prefix
