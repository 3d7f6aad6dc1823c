"""How a pipeline's code ended, as data: what it returned is checked and encoded, what it raised is put into words."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from execution_ledger.errors import StoreAway
from execution_ledger.messages.definition import Definition, check_outputs
from execution_ledger.messages.files import bytes_of
from execution_ledger.messages.parts import Failure
from execution_ledger.messages.payload import DEPTH_MAX, PAYLOAD_BYTES_MAX, Payload, json_payload, too_deep
from execution_ledger.sdk.attempt.capped import cap, cap_start
from execution_ledger.sdk.attempt.context import NoRetry

MESSAGE_CHARS_MAX = 4_000  # the caps of Failure
TRACEBACK_CHARS_MAX = 16_000
TRACEBACK_FRAMES_MAX = 50
COMPLAINTS_MAX = 10
PLAIN_VALUES = "Return plain Python values: int(x), float(x), x.tolist(); a file as a File, an output of its own."


@dataclass(frozen=True, slots=True)
class Completed:
    outputs: Payload


@dataclass(frozen=True, slots=True)
class Failed:
    failure: Failure


@dataclass(frozen=True, slots=True)
class Stopped:
    """The code stopped because it was told to, or aborted its execution by itself."""

    reason: str | None = None
    by_itself: bool = False


Outcome = Completed | Failed | Stopped


def of_value(definition: Definition, value: Any) -> Completed | Failed:
    """What a returned value amounts to. Raises nothing but what is not an Exception."""
    try:
        if wrong := check_outputs(definition, value):
            return refused("user", f"its outputs are not what it declares: {_listed(wrong)}")
        if deep := [name for name, output in (value or {}).items() if too_deep(output)]:
            return refused("user", f"its output {deep[0]} is nested more than {DEPTH_MAX} levels deep")
        outputs = json_payload({} if value is None else value)
    except Exception as error:  # noqa: BLE001 - a value may run the user's code when it is read; whatever that raises is an outcome
        advice = f". {PLAIN_VALUES}" if isinstance(error, TypeError) else ""
        return refused("user", f"{_unwritable(value)} cannot be written as JSON: {_text(error)}{advice}")
    if (size := bytes_of(outputs, value)) > PAYLOAD_BYTES_MAX:
        return refused(
            "outputs_too_large",
            f"its outputs take {size:,} bytes as JSON; all outputs together may take {PAYLOAD_BYTES_MAX:,}."
            " Return what is large as a File, which does not count.",
        )
    return Completed(outputs)


def _unwritable(outputs: Any) -> str:
    """Which of them it is, where one alone tells."""
    with contextlib.suppress(Exception):
        return next(f"its output {name}" for name, value in outputs.items() if not _is_writable(value))
    return "what it returned"


def _is_writable(value: Any) -> bool:
    try:
        json_payload(value)
    except Exception:  # noqa: BLE001 - as in of_value
        return False
    return True


def of_step(definition: Definition, value: Any) -> Completed | Failed:
    """What a value that a step returned amounts to: a dict, in which declared outputs are as declared, or nothing."""
    optional = {name: port.model_copy(update={"required": False}) for name, port in definition.outputs.items()}
    loose = definition.model_copy(update={"outputs": optional, "any_outputs": True})
    return of_value(loose, {} if value is None else value)


def of_error(error: BaseException, ours: str) -> Failed:
    """What a raised error amounts to; frames of the file `ours`, which called the code, are left out."""
    try:
        return _of_readable(error, ours)
    except BaseException:  # noqa: BLE001 - reading an error may run the user's code, too
        return refused("user", f"it raised an error that cannot be read, of {type.__repr__(type(error))}")


def _of_readable(error: BaseException, ours: str) -> Failed:
    trace = _theirs(error.__traceback__, ours)
    told = traceback.TracebackException(type(error), error, trace, limit=-TRACEBACK_FRAMES_MAX, compact=True)
    message = cap(f"{type(error).__name__}: {told}", MESSAGE_CHARS_MAX)
    trace_text = cap_start("".join(told.format()), TRACEBACK_CHARS_MAX)
    final = True if isinstance(error, NoRetry) else None
    kind = "infrastructure" if isinstance(error, StoreAway) else "user"
    return Failed(Failure(kind=kind, message=message, traceback=trace_text, final=final))


def refused(kind: str, message: str) -> Failed:
    return Failed(Failure(kind=kind, message=cap(message, MESSAGE_CHARS_MAX)))


def _listed(wrong: dict[str, str]) -> str:
    listed = [f"{name} {complaint}".lstrip() for name, complaint in wrong.items()]
    return "; ".join(listed[:COMPLAINTS_MAX]) + ("; …" if len(listed) > COMPLAINTS_MAX else "")


def _theirs(trace: TracebackType | None, ours: str) -> TracebackType | None:
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename == ours:
        trace = trace.tb_next
    return trace


def _text(error: BaseException) -> str:
    return of_error(error, ours="").failure.message
