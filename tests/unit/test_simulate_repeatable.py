"""A run follows from its plan alone: not from the process it is played in, nor from what was played there before."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PLAY = """
import gc, json
from execution_ledger.trials.simulate.plan import draw
from execution_ledger.trials.simulate.run import run
gc.set_threshold({often}, 3, 3)
print(json.dumps({{seed: run(draw(seed, 40)).digest for seed in {seeds}}}))
"""
SEEDS = [1, 3, 7, 125]  # with tokens closed together, snapshots damaged, and tasks cancelled together


def play(seeds: list[int], hash_seed: int, often: int) -> dict[str, str]:
    """In a process of its own, which orders sets in its own way: by its hashes, and by what lies where in memory."""
    script = PLAY.format(seeds=seeds, often=often)
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    played = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    digests: dict[str, str] = json.loads(played.stdout)
    return digests


def test_the_same_plan_makes_the_same_bytes_in_any_process_and_after_any_other() -> None:
    there, back = play(SEEDS, hash_seed=1, often=700), play(SEEDS[::-1], hash_seed=2, often=30)
    assert there == back
    assert len(set(there.values())) == len(SEEDS)
