"""Whom runners obey: once one has read a message under a claim, it drops the starts of every dispatcher before that.
Promise 6.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.inbox import INBOX, Start
from execution_ledger.verify.findings import Breach

from .cluster import INBOX_PARTITIONS, Cluster
from .loop import START_MS
from .pipelines import Witness

NEVER_S = float("inf")

Token = tuple[str, int]


def check_obeyed(cluster: Cluster, witness: Witness) -> Iterator[Breach]:
    claims: defaultdict[bytes, int] = defaultdict(int)  # by runner
    valid_s, void = dict[Token, float](), dict[Token, int]()
    for partition in range(INBOX_PARTITIONS):
        for record in cluster.log.partition(Lane(Topic.INBOX, partition)).records:
            message, runner = INBOX.validate_json(record.value or b""), record.key or b""
            if not isinstance(message, Start):  # which may be dropped for other reasons, and then teaches no claim
                claims[runner] = max(claims[runner], message.claim)
                continue
            token = message.token.execution_id, message.token.attempt
            if message.claim < claims[runner]:
                void[token] = message.claim
            else:
                valid_s.setdefault(token, (record.time_ms - 1 - START_MS) / 1000)  # which was rounded
    for entry in witness.entries:
        token = entry.execution_id, entry.attempt
        if token in void and entry.at_s < valid_s.get(token, NEVER_S):
            what = f"Attempt {entry.attempt} was begun at the word of dispatcher claim {void[token]}, which was over."
            yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)
