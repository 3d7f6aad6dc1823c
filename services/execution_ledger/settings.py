"""All settings, read once at the start and handed down; nothing else looks into the environment.

`EXLEDGER__KAFKA__BOOTSTRAP_SERVERS=…` sets `settings.kafka.bootstrap_servers`, and so on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_MS = 86_400_000

Some = Annotated[int, Field(ge=1, le=2**40)]  # of what cannot be none at all
Ms = Annotated[int, Field(ge=1, le=366 * DAY_MS)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Wait = Annotated[float, Field(ge=0, le=86_400)]  # seconds; 0: not at all
# Leases are counted in ticks that are at most 2 s apart: slower ones would count none.
Tick = Annotated[float, Field(gt=0, le=1.5)]


def _hosts(text: str) -> str:
    for one in text.split(","):
        host, _, port = one.strip().rpartition(":")
        if not host or " " in host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ValueError(
                f"{one.strip()!r} is no host:port; several are separated by commas, as in kafka-1:9092,kafka-2:9092"
            )
    return text


Servers = Annotated[str, AfterValidator(_hosts)]


def _dsn(dsn: SecretStr) -> SecretStr:
    if not dsn.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("it begins with postgresql://, as in postgresql://user:password@host:5432/database")
    return dsn


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    bootstrap_servers: Servers = "127.0.0.1:9092"
    topic_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = "exledger."
    shards: Annotated[int, Field(ge=2, le=4096)] = 4  # fixed when the topics are made
    inbox_partitions: Annotated[int, Field(ge=1, le=64)] = 2
    replication_factor: Annotated[int, Field(ge=1, le=7)] = 1


class PostgresSettings(Section):
    dsn: Annotated[SecretStr, AfterValidator(_dsn)] = SecretStr("postgresql://postgres@127.0.0.1:5432/postgres")


class ObjectsSettings(Section):
    """Where objects lie: a folder, s3://…, gs://…, az://…; without it every restart reads the whole log."""

    url: str = ""
    options: dict[str, SecretStr] = {}  # what the store needs, by the names that obstore gives it: aws_region, …


class FilesSettings(Section):
    """Of what people and pipelines put into the object store: inputs, outputs, artifacts, data."""

    bytes_max: Annotated[int, Field(ge=1)] = 5_000_000_000  # of one file
    uploads_at_once_max: Annotated[int, Field(ge=1)] = 16  # each takes some 20 MB of memory; the next gets 429


class SnapshotSettings(Section):
    due_s: Annotated[float, Field(gt=0)] = (
        1.0  # a snapshot is due when a restart would take this long to fold what came after the last one
    )
    share_max: Annotated[float, Field(gt=0)] = 0.2  # … and writing it is at most this much of folding that


class LedgerSettings(Section):
    """Bounds of one group commit, and what the ledger remembers."""

    batch_records_max: Some = 500
    batch_bytes_max: Some = 512_000
    tick_s: Tick = 1.0
    absent_after_ms: Ms = 4_000  # a ledger whose newest tick is older than this gets no shards
    checkpoint_ms: Ms = 1_000
    keyed_ms: Ms = DAY_MS  # how long client-keyed commands are remembered …
    keyed_max: Some = 50_000  # … and how many of them at least, per shard


class DispatcherSettings(Section):
    tick_s: Tick = 1.0
    absent_after_ms: Ms = 4_000  # a standby claims when the active one has not ticked for this long
    lease_s: Seconds = 20.0
    starts_cache_bytes_max: Annotated[int, Field(ge=0)] = 64_000_000
    due_max: Some = 500  # deadlines asked for per turn
    host: str = "127.0.0.1"  # where it answers gateways, which learn of it from its claim
    port: Annotated[int, Field(ge=0, le=65_535)] = 0  # 0: a free one


class RunnerSettings(Section):
    slots: Annotated[int, Field(ge=1, le=5_000)] = 100
    heartbeat_s: Seconds = 2.0
    lease_s: Seconds = 20.0
    drain_s: Wait = 10.0  # SIGTERM: how long running code may go on before it is given back
    app: str = ""  # the module that holds the pipelines
    log_bytes_max: Annotated[int, Field(ge=100_000)] = 10_000_000  # kept of what one attempt prints and logs …
    logs_memory_bytes_max: Some = 128_000_000  # … and of all that run at once


class ProjectorSettings(Section):
    batch_events_max: Some = 2_000  # decoding and folding more at once would hold up the loop


class GatewaySettings(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    url: str = "http://127.0.0.1:8080"  # where runners and the CLI find it
    token_sha256: str = ""  # of the bootstrap token, whose actor is `admin`
    token_expires: AwareDatetime | None = None  # from then on it opens nothing; None: it is good for ever
    token: SecretStr = SecretStr("")  # for runners, which call the gateway
    body_bytes_max: Some = 1_000_000
    batch_bytes_max: Some = 32_000_000
    decide_wait_s: Wait = 5.0  # how long a POST waits for the ledger before it answers 202
    read_wait_s: Wait = 5.0  # how long a read waits for the position that it needs
    submits_at_once_max: Annotated[int, Field(ge=1)] = 64  # requests for new executions under way; the next gets 429
    views_behind_s_max: Wait = 30.0  # further behind, and nothing new is taken in
    disk_folders: tuple[Path, ...] = ()  # whose disks are watched; none: this gateway cannot see them
    disk_free_bytes_min: Annotated[int, Field(ge=0)] = 500_000_000  # with less room, nothing new is taken in


class MetricsSettings(Section):
    """Where each process shows what it measures, at /metrics and to those who have the token alone."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0  # 0: a free one, which the process logs


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EXLEDGER__", env_nested_delimiter="__", frozen=True, extra="forbid")

    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    objects: ObjectsSettings = ObjectsSettings()
    files: FilesSettings = FilesSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    ledger: LedgerSettings = LedgerSettings()
    dispatcher: DispatcherSettings = DispatcherSettings()
    runner: RunnerSettings = RunnerSettings()
    projector: ProjectorSettings = ProjectorSettings()
    gateway: GatewaySettings = GatewaySettings()
    metrics: MetricsSettings = MetricsSettings()
    json_logs: bool | None = None  # None: wherever standard error is no terminal

    @model_validator(mode="after")
    def _runners_stop_before_they_are_given_up(self) -> Self:
        runner, lease_s = self.runner, self.dispatcher.lease_s
        if runner.lease_s > lease_s:
            raise ValueError(
                f"EXLEDGER__RUNNER__LEASE_S ({runner.lease_s}) is longer than EXLEDGER__DISPATCHER__LEASE_S "
                f"({lease_s}): a runner that was cut off would go on while its work begins elsewhere. "
                "Give both the same value."
            )
        if runner.heartbeat_s > runner.lease_s / 3:
            raise ValueError(
                f"EXLEDGER__RUNNER__HEARTBEAT_S ({runner.heartbeat_s}) is more than a third of "
                f"EXLEDGER__RUNNER__LEASE_S ({runner.lease_s}): a runner that is heard so rarely stops its own work "
                "again and again."
            )
        return self
