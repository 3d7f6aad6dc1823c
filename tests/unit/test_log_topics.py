"""How topics must be, without a broker."""

from __future__ import annotations

import pytest

from execution_ledger.log.protocol import Topic
from execution_ledger.log.topics import FoundTopic, TopicPlan, deviations, plans
from execution_ledger.settings import KafkaSettings


def plan(topic: Topic, replication: int = 1) -> TopicPlan:
    settings = KafkaSettings(shards=4, replication_factor=replication)
    return next(plan for plan in plans(settings) if plan.topic is topic)


def found(of: TopicPlan, **changed: str) -> FoundTopic:
    changes = {name.replace("_", "."): value for name, value in changed.items()}
    return FoundTopic(of.partitions, of.replication, of.configs() | changes)


@pytest.mark.parametrize("topic", list(Topic))
def test_a_topic_as_planned_has_no_deviation(topic: Topic) -> None:
    assert list(deviations(plan(topic), found(plan(topic)))) == []


def test_every_topic_but_events_is_stamped_by_the_broker_and_ends() -> None:
    for each in plans(KafkaSettings()):
        keeps_for_ever = each.retention_ms == -1
        assert keeps_for_ever == (each.topic is Topic.EVENTS) == (each.timestamps == "CreateTime")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("retention_ms", "-1", True),
        ("retention_ms", str(8 * 86_400_000), True),
        ("retention_ms", "3600000", False),
        ("retention_bytes", "1000000", False),
        ("cleanup_policy", "delete,compact", False),
        ("max_message_bytes", "5000000", True),
        ("max_message_bytes", "500000", False),
        ("message_timestamp_type", "CreateTime", False),
        ("unclean_leader_election_enable", "true", False),
        ("segment_ms", "604800000", True),
    ],
)
def test_what_a_cluster_may_have_different(name: str, value: str, accepted: bool) -> None:
    faults = list(deviations(plan(Topic.COMMANDS), found(plan(Topic.COMMANDS), **{name: value})))
    assert (faults == []) == accepted
    assert all(f"{name.replace('_', '.')}={value}" in fault for fault in faults)


def test_logs_are_bounded_by_bytes_too_and_a_cluster_may_keep_more() -> None:
    logs = plan(Topic.LOGS)
    assert (logs.configs()["retention.ms"], logs.configs()["retention.bytes"]) == ("86400000", "268435456")
    assert list(deviations(logs, found(logs, retention_bytes="-1", segment_bytes="1073741824"))) == []
    assert len(list(deviations(logs, found(logs, retention_bytes="1000")))) == 1


def test_three_replicas_need_two_in_sync() -> None:
    of = plan(Topic.EVENTS, replication=3)
    assert of.configs()["min.insync.replicas"] == "2"
    assert len(list(deviations(of, found(of, min_insync_replicas="1")))) == 1
    assert len(list(deviations(of, FoundTopic(of.partitions, 2, of.configs())))) == 1


@pytest.mark.parametrize(
    ("topic", "fix"), [(Topic.EVENTS, "shards to 7"), (Topic.INBOX, "inbox_partitions"), (Topic.HEARTBEATS, "delete")]
)
def test_another_number_of_partitions_says_what_to_do(topic: Topic, fix: str) -> None:
    [fault] = deviations(plan(topic), FoundTopic(7, 1, plan(topic).configs()))
    assert fix in fault
