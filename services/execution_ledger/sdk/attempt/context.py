"""The context: what a running pipeline knows of its execution, and how it talks back. Safe to use from any thread."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import structlog

from execution_ledger.errors import StoreAway
from execution_ledger.messages.parts import Mode, Options
from execution_ledger.messages.payload import Payload
from execution_ledger.messages.reports import ReportCheckpoint, ReportWarning, Said

from ..file import File
from .capped import cap
from .checkpoints import checkpoint_of
from .data import PipelineData
from .folder import AttemptFolder
from .recorder import Recorder
from .rendering import file_of, model_of, plot_of, table_of
from .store import Store

WARNING_CHARS_MAX = 2_000  # the cap of ReportWarning
WARNINGS_MAX = 1_000  # per attempt; each one is an event that is kept for ever


class Aborted(BaseException):
    """Ends the attempt as aborted. Not an Exception, so that a broad `except Exception` does not swallow it."""

    def __init__(self, reason: str | None = None, *, by_itself: bool = False) -> None:
        super().__init__(reason or "aborted")
        self.reason = reason
        self.by_itself = by_itself


class NoRetry(Exception):  # it says what is wanted, as Aborted does
    """Raise it, or an exception of your own made from it, where trying again is of no use: the execution fails now."""


class Properties(dict[str, Any]):
    """A dict that says where its values come from when one is not there."""

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(map(str, self)) or "none"
        raise KeyError(f"{name} is no property of this run, which has: {known}. Its twin says them, or the run itself")


class _Abort(threading.Event):
    reason: str | None = None


class Context:
    """Handed to a pipeline as its first argument. `said` takes what it records, from whichever thread.

    Steps get shallow copies, so whatever counts or changes lies in an object that the copies share.
    """

    step: str | None = None  # whose code this was handed to
    try_: int = 1  # which of the step's tries in this attempt

    def __init__(
        self,
        *,
        execution_id: str,
        name: str,
        attempt: int,
        mode: Mode,
        options: Options,
        said: Callable[[Said], None],
        twin: str | None = None,
        experiment: str | None = None,
        properties: Mapping[str, Any] | None = None,
        store: Store | None = None,
        checkpoint: Payload | None = None,
    ) -> None:
        self.execution_id = execution_id
        self.name = name
        self.attempt = attempt
        self.mode = mode
        self.options = options
        self.twin = twin
        self.experiment = experiment
        self.properties = Properties(properties or {})
        self._said = said
        self._store = store
        self._recorder = Recorder(self._lent, said, self.warn)
        self._checkpoint = checkpoint
        self._warnings = itertools.count(1)  # counting with it is atomic
        self._abort = _Abort()
        self._folder = AttemptFolder()

    @cached_property
    def log(self) -> structlog.typing.FilteringBoundLogger:
        logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("pipeline")
        bound = logger.bind(execution=self.execution_id, name=self.name, attempt=self.attempt)
        return bound if self.step is None else bound.bind(step=self.step)

    @property
    def folder(self) -> Path:
        """A folder of this attempt alone, for files on their way: it is gone after the attempt.

        Others run at the same time and write to the same working directory.
        """
        return self._folder.path()

    # --- what it records ------------------------------------------------------------------------------------------

    def plot(self, name: str, figure: Any) -> None:
        """Records a plot: a figure of Plotly, Altair or Matplotlib, an image (of Pillow, as bytes, or its Path), HTML.

        Does nothing but tell the log where the run's option `plot` is off, as it is in production.
        """
        if self.options.plot:
            self._recorder.artifact("plot", name, plot_of(figure))
        else:
            self.log.debug("not recorded, because the option plot is off", plot=name)

    def table(self, name: str, rows: Any) -> None:
        """Records a table as CSV: a data frame, a list of dicts, or of sequences whose first is the header."""
        self._recorder.artifact("table", name, table_of(rows))

    def model(self, key: str, model: Any) -> None:
        """Records a trained model: a file by its path, bytes, or an object, which is pickled.

        Its version is `<number of the execution>.<attempt>`. Does nothing but tell the log where the run's option
        `train` is off, as it is in production.
        """
        if self.options.train:
            self._recorder.model(key, model_of(model))
        else:
            self.log.debug("not recorded, because the option train is off", model=key)

    def artifact(self, name: str, content: Path | str | bytes | File) -> None:
        """Records any file, by its path or its bytes.

        Like all of these it returns once the bytes are stored; in async code they are stored beside it, and the attempt
        does not end before that.
        """
        self._recorder.artifact("file", name, file_of(content, name))

    def metric(self, name: str, value: Any) -> None:
        """Records a number, of which the newest counts, or a list of numbers, which goes on from those before.

        Raises ValueError or TypeError for what is no finite number.
        """
        self._recorder.metric(name, value)

    @cached_property
    def data(self) -> PipelineData:
        """What pipelines share, under paths: put, get, list, delete."""
        return PipelineData(self._lent, self.options.write, self.log.debug)

    def _lent(self) -> Store:
        if self._store is None:
            raise StoreAway("This runner has no object store: set EXLEDGER__OBJECTS__URL.")
        return self._store

    # --- how it ends ----------------------------------------------------------------------------------------------

    @property
    def abort_requested(self) -> bool:
        """Whether this attempt should stop: it was aborted or closed, or its runner has to stop."""
        return self._abort.is_set()

    def check_abort(self) -> None:
        """Raises Aborted if this attempt should stop; call it between steps of long plain code."""
        if self.abort_requested:
            raise Aborted(self._abort.reason)

    def abort(self, reason: str | None = None) -> NoReturn:
        """Ends this attempt here, as aborted by itself."""
        raise Aborted(None if reason is None else str(reason), by_itself=True)

    def warn(self, message: str) -> None:
        """Records a warning in the execution's history; at most WARNINGS_MAX of them per attempt."""
        count = next(self._warnings)
        if count < WARNINGS_MAX:
            self._warn(str(message))
        elif count == WARNINGS_MAX:
            self._warn(f"This is warning {WARNINGS_MAX} of this attempt; the next ones are not recorded.")

    def _warn(self, message: str) -> None:
        self._said(Said(ReportWarning, {"message": cap(message, WARNING_CHARS_MAX)}))

    def checkpoint(self, value: Any) -> bool:
        """Hands any JSON value to the next attempt of this execution, if there is one; True: this one should stop.

        Of many at once the newest counts, so it may be called as often as there is something new. Raises BadRequest for
        what is no JSON or takes more than PAYLOAD_BYTES_MAX bytes.
        """
        self._said(Said(ReportCheckpoint, {"value": checkpoint_of(value)}))
        return self.abort_requested

    @property
    def last_checkpoint(self) -> Any:
        """The newest checkpoint of the attempts before this one; None where there is none."""
        return self._checkpoint and self._checkpoint.value()

    def request_abort(self, reason: str | None) -> None:
        """For the runner: tells the code to stop."""
        self._abort.reason = reason
        self._abort.set()

    def left_folder(self) -> AttemptFolder | None:
        """For the runner, after the end: what there is to remove."""
        return self._folder if self._folder.is_made else None

    def of_step(self, step: str, try_: int, store: Store) -> Context:
        """For the runner: a step's view of it, in which all that is said is said in that step."""
        view = copy.copy(self)
        view.step, view.try_, view._store = step, try_, store
        view._said = lambda said: self._said(_said_in(step, said))
        view._recorder = self._recorder.of_step(view._lent, view._said, view.warn)
        view.__dict__.pop("log", None)  # which is bound to another step, or to none
        view.__dict__.pop("data", None)
        return view


def _said_in(step: str, said: Said) -> Said:
    """Some kinds are the attempt's as a whole, and name no step."""
    return Said(said.kind, {**said.fields, "step": step}) if "step" in said.kind.model_fields else said
