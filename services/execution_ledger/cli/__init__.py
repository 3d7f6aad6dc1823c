"""The command line: one file per noun, and one place where errors become a line and an exit code.

Exit codes: 0 done · 1 an execution ended badly, or something is broken · 2 what was asked cannot be done · 3 the ledger
cannot be reached or cannot answer now · 4 an execution is still running at the end of --timeout · 130 Ctrl-C.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import BadRequest, BadSettings, LedgerError, Transient
from . import dev, executions, info, run, serve, tail
from .output import show_error

BROKEN, CANNOT_BE_DONE, OUT_OF_REACH = 1, 2, 3


class Commands(TyperGroup):
    """Expected errors never show a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LedgerError as error:
            show_error(str(error))
            raise typer.Exit(exit_code(error)) from None


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
    epilog="All but `dev`, `init` and `serve` talk to the `exledger dev` of --data-dir, or to any ledger by "
    "EXLEDGER_URL and EXLEDGER_TOKEN.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help takes 0.3 s to import
)
app.command()(dev.dev)
app.command()(run.run)
app.command()(executions.get)
app.command("list")(executions.list_)
app.command()(executions.abort)
app.command()(executions.events)
app.command()(tail.tail)
app.command()(info.info)
app.command()(serve.init)
app.command()(serve.serve)
