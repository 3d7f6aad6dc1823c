"""`exledger dev` as a person meets it: real processes, Kafka and Postgres, and what happens when they are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import ExitStack

import pytest

from e2e.program import (
    SERVICES,
    Dev,
    Program,
    answer,
    descendants,
    exledger,
    lines,
    memory_mb,
    open_handles,
    run_to_end,
    services,
    wait_until_gone,
)
from execution_ledger.embedded.folder import ephemeral_folder

MEMORY_MB_MAX = 900


def test_a_pipeline_runs_and_its_outputs_come_back(dev: Dev) -> None:
    done = answer(dev, "run", "double", "-i", "n=21", "--wait")
    assert (done["status"], done["outputs"]) == ("completed", {"n": 42})


def test_what_has_run_is_in_the_list_and_has_a_history(dev: Dev) -> None:
    answer(dev, "twins", "add", "pump-7")
    done = answer(dev, "run", "double", "-i", "n=2", "--twin", "pump-7", "--wait")
    [listed] = lines(dev, "list", "--twin", "pump-7")
    assert (listed["id"], listed["status"]) == (done["id"], "completed")
    kinds = [event["type"].split(".")[-2] for event in lines(dev, "events", done["name"])]
    assert kinds == ["queued", "dispatched", "started", "completed"]
    assert answer(dev, "get", str(done["number"]))["id"] == done["id"]


def test_a_failure_tells_its_message(dev: Dev) -> None:
    result = exledger(dev, "run", "fail", "-i", "message=no such pump", "--wait")
    assert result.returncode == 1
    assert "no such pump" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_running_execution_is_aborted_and_the_same_key_finds_it_again(dev: Dev) -> None:
    sleepy = ("run", "sleepy", "-i", "seconds=600", "--key", "one-sleeper")
    begun = answer(dev, *sleepy)
    answer(dev, "abort", begun["name"], "--reason", "never mind")
    again = exledger(dev, *sleepy, "--wait", "--json")
    assert again.returncode == 1, again.stderr
    ended = json.loads(again.stdout)
    assert (ended["id"], ended["status"]) == (begun["id"], "aborted")
    reasons = [event.get("reason") for event in lines(dev, "events", begun["id"])]
    assert "never mind" in reasons


def test_info_names_every_address(dev: Dev) -> None:
    info = answer(dev, "info")
    assert (info["ready"], info["pid"]) == (True, dev.pid)
    assert (info["url"], info["kafka"], info["psql"]) == (dev.field("URL"), dev.field("Kafka"), dev.field("Postgres"))


def test_tail_shows_what_happens_while_it_happens_and_ends_quietly(dev: Dev) -> None:
    with Program("tail", "--data-dir", str(dev.folder)) as tail:
        tail.wait_for("Following")
        name = answer(dev, "run", "double", "-i", "n=1", "--wait")["name"]
        tail.wait_for(name)
        tail.wait_for("execution.completed")
        assert tail.end(signal.SIGINT) == 0
    assert "Traceback" not in tail.printed


def test_a_second_dev_on_the_same_folder_says_who_holds_it(dev: Dev) -> None:
    result = exledger(dev, "dev", "--port", "0")
    assert result.returncode == 1
    assert f"in use by process {dev.pid}" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run_to_end("dev", "--port", port, "--ephemeral")
    assert result.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be used: Address already in use." in result.stderr
    assert "--port 0" in result.stderr


def test_all_processes_together_are_small(dev: Dev) -> None:
    assert memory_mb([dev.pid, *descendants(dev.pid)]) <= MEMORY_MB_MAX


@pytest.mark.parametrize("service", ["runner", "gateway"])
def test_a_killed_service_is_started_again_and_work_goes_on(dev: Dev, service: str) -> None:
    killed = services(dev)[service]
    os.kill(killed, signal.SIGKILL)
    dev.wait_for(f"{service} died (killed by SIGKILL)")
    dev.wait_for(f"{service} restarting")
    assert services(dev)[service] != killed
    assert answer(dev, "run", "double", "-i", "n=4", "--wait")["outputs"] == {"n": 8}


def test_killed_with_9_it_leaves_no_process_and_loses_nothing() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(ephemeral_folder())
        options = ("--port", "0", "--data-dir", str(folder))
        with Dev(*options, cwd=folder) as first:
            first.wait_for("Ctrl-C stops everything")
            before = answer(first, "run", "double", "-i", "n=21", "--wait")
            pids = descendants(first.pid)
            assert set(services(first)) == SERVICES
            handles = open_handles(pids, stack)
            first.end(signal.SIGKILL)
            wait_until_gone(pids, handles)
        with Dev(*options, cwd=folder) as second:
            second.wait_for("Ctrl-C stops everything")
            after = answer(second, "get", before["id"])
            assert after | {"position": ""} == before | {"position": ""}
            pids = descendants(second.pid)
            handles = open_handles(pids, stack)
            assert second.end(signal.SIGHUP) == 0, "its terminal was closed"
            wait_until_gone(pids, handles)
            assert exledger(second, "list").returncode == 3
