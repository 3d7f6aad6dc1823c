"""Examples, shown at the end of each command's --help."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "dev": ("exledger dev", "exledger dev --port 0 --ephemeral", "exledger dev --app my_pipelines.py"),
    "run": (
        "exledger run load -i days=3 --twin pump-7 --wait",
        "exledger run load -i days=3 --twin pump-1 --twin pump-2 --wait",
        "exledger run fit -i rows=measurements.csv",
        "exledger run train --mode experiment --experiment winter-26 --no-plot",
        "exledger run train -i rate=0.1 --label team=blue --key nightly-2026-11-22",
        "exledger run load -i days=3 --business-id pump-7 --if-live wait",
    ),
    "get": ("exledger get load-401", "exledger get load-401 --json"),
    "list": (
        "exledger list --status failed --since 2h",
        "exledger list --pipeline load --sort -took --limit 5",
        'exledger list --search "no such pump" --all --json',
    ),
    "stats": (
        "exledger stats --by pipeline",
        "exledger stats --by twin --experiment winter-26",
        "exledger stats --by day --pipeline load --since 7d --json",
    ),
    "retry": ("exledger retry load-401 --wait",),
    "rerun": ("exledger rerun load-401 -i days=7", "exledger rerun load-401 --newest --timeout 5m --wait"),
    "abort": ('exledger abort load-401 --reason "wrong pump"',),
    "hold": ('exledger hold load-401 --reason "the pump is being repaired"',),
    "release": ("exledger release load-401",),
    "label": ("exledger label load-401 team=blue old=",),
    "jobs run": (
        "exledger jobs run abort --status queued --pipeline load --dry-run",
        'exledger jobs run abort --batch 019a… --reason "wrong inputs" --yes',
        "exledger jobs run retry --status failed --since 2h --yes --json",
        "exledger jobs run rerun --from-failed --status failed --pipeline nightly --yes",
        "exledger jobs run label load-401 load-402 --set team=blue --yes",
    ),
    "jobs list": ("exledger jobs list --limit 5",),
    "jobs get": ("exledger jobs get 019a… --json",),
    "events": ("exledger events load-401", "exledger events load-401 --json"),
    "artifacts": ("exledger artifacts load-401", "exledger artifacts load-401 --save plots"),
    "models": ("exledger models", "exledger models pump --save models"),
    "metrics": ("exledger metrics --pipeline load --name rmse", "exledger metrics load-401 --json"),
    "data put": ("exledger data put pumps.csv", "exledger data put scaler.bin models/pump-7/scaler.bin"),
    "data ls": ("exledger data ls", "exledger data ls models --json"),
    "data get": ("exledger data get pumps.csv", "exledger data get models/pump-7/scaler.bin downloads"),
    "data rm": ("exledger data rm pumps.csv",),
    "logs": ("exledger logs load-401 -f", "exledger logs load-401 --attempt 2 --json"),
    "explain": ("exledger explain load-401",),
    "tail": ("exledger tail", "exledger tail --json"),
    "queue": ("exledger queue", "exledger queue --json"),
    "runners": ("exledger runners", "exledger runners --json"),
    "templates add": (
        "exledger templates add pump --property rated_kw=number",
        "exledger templates add pump --from pump.json",
    ),
    "templates list": ("exledger templates list", "exledger templates list --json"),
    "templates show": ("exledger templates show pump",),
    "twins add": (
        "exledger twins add pump-7 --template pump -v rated_kw=7.5",
        "exledger twins add --from twins.json",
    ),
    "twins list": ("exledger twins list --template pump", "exledger twins list --json"),
    "twins show": ("exledger twins show pump-7",),
    "twins remove": ("exledger twins remove pump-7",),
    "experiments add": ('exledger experiments add winter-26 --name "Winter season"',),
    "experiments list": ("exledger experiments list",),
    "experiments show": ("exledger experiments show winter-26",),
    "pipelines": ("exledger pipelines", "exledger pipelines load", "exledger pipelines load --version 2 --json"),
    "info": ("exledger info", "exledger info --json"),
    "config show": ("exledger config show", "EXLEDGER__KAFKA__SHARDS=8 exledger config show --json"),
    "schemas write": ("exledger schemas write --dir contract",),
    "schemas check": ("exledger schemas check", "exledger schemas check --dir contract"),
    "views rebuild": ("exledger views rebuild",),
    "views restore": ("exledger views restore",),
    "bench latency": ("exledger bench latency", "exledger bench latency --count 1000 --json"),
    "bench restart": ("exledger bench restart", "exledger bench restart --events 10000 --events 2000000 --json"),
    "init": ("EXLEDGER__KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092 exledger init",),
    "serve": ("exledger serve ledger", "exledger serve runner --app my_pipelines", "exledger serve gateway projector"),
}


def examples(command: str) -> str:
    """As an epilog whose lines stay as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[command])])
