"""What Prometheus finds at a real `exledger dev`: its targets in a file, and a page for those who have the token."""

from __future__ import annotations

import json
import os
import signal

import httpx

from e2e.program import SERVICES, Dev, answer, services
from unit.metrics_stage import catalogue, samples

SCRAPE_S = 10.0


def targets(dev: Dev) -> dict[str, str]:
    """The address of each service's page, from the file that Prometheus reads."""
    found = json.loads((dev.folder / "metrics.json").read_text())
    return {group["labels"]["service"]: target for group in found for target in group["targets"]}


def scrape(dev: Dev, service: str, token: str | None = None) -> httpx.Response:
    token = token or (dev.folder / "token").read_text().strip()
    with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=SCRAPE_S) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return client.get(f"http://{targets(dev)[service]}/metrics", headers=headers)


def test_each_process_shows_its_own_metrics_and_their_labels_are_those_of_the_table(dev: Dev) -> None:
    answer(dev, "run", "double", "-i", "n=21", "--wait")
    assert set(targets(dev)) == SERVICES
    table = catalogue()
    for service in SERVICES:
        page = scrape(dev, service)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = samples(page.text)
        ours = [key for key in found if key[0].startswith(f"exledger_{service}_")]
        assert ours
        assert found["process_resident_memory_bytes", frozenset()] > 0
        for name, labels in ours:
            family = next(row for metric, row in table.items() if name.startswith(metric))
            assert {label for label, _ in labels} - {"le"} == family.labels, name


def test_nobody_reads_them_without_the_token(dev: Dev) -> None:
    for service in SERVICES:
        assert scrape(dev, service, token="a-guess").status_code == 401


def test_how_far_the_stable_end_lies_behind_the_high_watermark_is_shown_for_every_shard(dev: Dev) -> None:
    answer(dev, "run", "double", "-i", "n=1", "--wait")
    for service in ("dispatcher", "projector"):
        found = samples(scrape(dev, service).text)
        name = f"exledger_{service}_unstable_records"
        assert {dict(labels)["shard"] for metric, labels in found if metric == name} == {"0", "1", "2", "3"}


def test_a_service_that_was_started_again_is_found_where_it_was(dev: Dev) -> None:
    before = targets(dev)
    os.kill(services(dev)["projector"], signal.SIGKILL)
    dev.wait_for("projector restarting")
    assert targets(dev) == before
    assert "exledger_projector_shards" in scrape(dev, "projector").text
