"""Labels that change after an execution was asked for.

They say nothing of its life, so they are no part of its history and its chain, and a ledger keeps none of them: what
has left its memory can be labelled like anything else.
"""

from __future__ import annotations

from execution_ledger.messages.commands import ChangeLabels
from execution_ledger.messages.events import Fact, LabelsChanged


def change_labels(command: ChangeLabels) -> list[Fact]:
    return [
        LabelsChanged(
            labels=command.labels, removed=command.removed, body_digest=command.body_digest, keyed=command.keyed
        )
    ]
