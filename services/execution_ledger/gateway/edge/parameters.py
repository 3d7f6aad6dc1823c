"""Parameters as a call declares them: each as often as it may come, and nothing beside them.

A filter with a typing error must not list everything, and of two keys neither may be lost in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from fastapi import Request, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params

from .problems import FieldError

_IGNORED = frozenset({"traceparent"})  # a trace context that makes no sense fails no request
_TWICE = "occurs more than once; which one counts would be a guess"


@dataclass(frozen=True)
class Parameters:
    """`query` says of each name whether it may come repeatedly."""

    query: Mapping[str, bool]
    headers: Set[str]

    def wrong(self, request: Request) -> list[FieldError]:
        given = Counter(name for name, _ in request.query_params.multi_items())
        unknown = [FieldError(name, "is not a parameter of this call") for name in given if name not in self.query]
        twice = [name for name, many in self.query.items() if given[name] > 1 and not many]
        twice += [name for name in self.headers if len(request.headers.getlist(name)) > 1]
        return unknown + [FieldError(name, _TWICE) for name in twice]


def declared(call: Dependant) -> Parameters:
    infos = {each.alias: each.field_info for each in get_flat_params(call)}
    query = {name: _is_list(info.annotation) for name, info in infos.items() if isinstance(info, params.Query)}
    headers = {name for name, info in infos.items() if isinstance(info, params.Header)}
    return Parameters(query, headers - _IGNORED)


def _is_list(annotation: Any) -> bool:
    return any(get_origin(each) is list for each in (annotation, *get_args(annotation)))
