"""Numbers that a pipeline records of itself: how good it was, how much it saw."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

VALUES_MAX = 1_000  # of one record; more of them are several records

MetricName = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=VALUES_MAX)]
