"""The command line: one file per noun, and one place where errors become a line and an exit code.

Exit codes: 0 done · 1 an execution ended badly, or something is broken · 2 what was asked cannot be done · 3 the ledger
cannot be reached or cannot answer now · 4 an execution is still running at the end of --wait-for · 130 Ctrl-C ·
141 whoever was to read the output has gone (`| head`).
"""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import BadRequest, BadSettings, LedgerError, Transient
from . import (
    again,
    artifacts,
    bench,
    catalog,
    changes,
    config,
    data,
    demo,
    dev,
    executions,
    explain,
    finding,
    info,
    jobs,
    logs,
    metrics,
    pipelines,
    queue,
    run,
    runners,
    schemas,
    serve,
    simulate,
    tail,
    verify,
    views,
)
from .terminal.examples import examples
from .terminal.output import BROKEN, CANNOT_BE_DONE, NOBODY_READS, OUT_OF_REACH, show_error

NOT_TO_BE_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Commands(TyperGroup):
    """Expected errors never show a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Python hands over the bytes of an argument that is not UTF-8 as lone surrogates, which nothing can send."""
        for argument in args:
            if not _is_utf8(argument):
                ctx.fail(f"The argument {argument!a} is not UTF-8 text.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # an arrow that a terminal cannot show is no reason to fail
        try:
            return super().invoke(ctx)
        except LedgerError as error:
            show_error(str(error))
            raise typer.Exit(exit_code(error)) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is what is left to be flushed wanted
            raise typer.Exit(NOBODY_READS) from None
        except OSError as error:
            if error.errno not in NOT_TO_BE_WRITTEN:
                raise
            show_error(f"The output cannot be written: {error.strerror}.")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OUT_OF_REACH) from None


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def exit_code(error: LedgerError) -> int:
    match error:
        case BadRequest() | BadSettings():
            return CANNOT_BE_DONE
        case Transient():
            return OUT_OF_REACH
        case _:
            return BROKEN


app = typer.Typer(
    cls=Commands,
    help="An execution ledger: who ran what, when, and what came of it.",
    epilog="All but `demo`, `dev`, `init`, `serve`, `simulate`, `config` and `schemas` talk to the `exledger dev` of "
    "--data-dir, or to any ledger by EXLEDGER_URL and EXLEDGER_TOKEN.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help takes 0.3 s to import
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"exledger {version('execution-ledger')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)]


@app.callback()
def exledger(_: Version = False) -> None:
    """What is said before any command."""


app.command(epilog=demo.EPILOG)(demo.demo)
app.command(epilog=examples("dev"))(dev.dev)
app.command(epilog=examples("run"))(run.run)
app.command(epilog=examples("get"))(executions.get)
app.command("list", epilog=examples("list"))(finding.list_)
app.command(epilog=examples("stats"))(finding.stats)
app.command(epilog=examples("retry"))(again.retry)
app.command(epilog=examples("rerun"))(again.rerun)
app.command(epilog=examples("abort"))(executions.abort)
app.command(epilog=examples("hold"))(changes.hold)
app.command(epilog=examples("release"))(changes.release)
app.command(epilog=examples("label"))(changes.label)
app.command(epilog=examples("events"))(executions.events)
app.command(epilog=examples("artifacts"))(artifacts.artifacts)
app.command(epilog=examples("models"))(artifacts.models)
app.command(epilog=examples("metrics"))(metrics.metrics)
app.command(epilog=examples("logs"))(logs.logs)
app.command(epilog=examples("explain"))(explain.explain)
app.command(epilog=examples("tail"))(tail.tail)
app.command(epilog=examples("queue"))(queue.queue)
app.command(epilog=examples("runners"))(runners.runners)
app.command(epilog=examples("pipelines"))(pipelines.pipelines)
app.add_typer(catalog.templates, name="templates")
app.add_typer(catalog.twins, name="twins")
app.add_typer(catalog.experiments, name="experiments")
app.command(epilog=examples("info"))(info.info)
app.command(epilog=examples("init"))(serve.init)
app.command(epilog=examples("serve"))(serve.serve)
app.command(epilog=verify.EPILOG)(verify.verify)
app.command(epilog=simulate.EPILOG)(simulate.simulate)
app.add_typer(jobs.jobs, name="jobs")
app.add_typer(data.data, name="data")
app.add_typer(config.config, name="config")
app.add_typer(schemas.schemas, name="schemas")
app.add_typer(views.views, name="views")
app.add_typer(bench.bench, name="bench")
