"""From typed values to JSON and back, as their type hints say, so that a new field needs no code here.

A union's members are told apart by the names of their classes. `shape` spells a type out, field by field: where it has
changed, what was written under the old one must not be read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

_ATOMS = (int, str, bool, float, NoneType)

K = TypeVar("K")
V = TypeVar("V")


class Trie(Generic[K, V]):
    """Stands for `rpds.HashTrieMap` in type hints, which itself takes no parameters when they are looked at."""


@dataclass(frozen=True, slots=True)
class Codec:
    shape: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def codec_of(hint: Any) -> Codec:
    """Raises TypeError for a type that it does not know how to keep."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _ATOMS or origin is Literal:
        return Codec(str(getattr(hint, "__name__", hint)), _same, _same)
    if origin is Annotated:
        return codec_of(arguments[0])
    if origin in (Union, UnionType):
        return _union(arguments)
    if (fields := fields_of(hint)) is not None:
        return _fields(origin or hint, fields)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Codec(_names(hint), lambda value: value.value, hint)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _model(hint)
    return _collection(hint, origin, arguments)


def fields_of(hint: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or a NamedTuple and their types; None for anything else."""
    kind = get_origin(hint) or hint
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif hasattr(kind, "_fields"):
        names = list(kind._fields)
    else:
        return None
    bound = dict(zip(getattr(kind, "__parameters__", ()), get_args(hint), strict=False))
    hints = get_type_hints(kind, localns={"HashTrieMap": Trie}, include_extras=True)
    return {name: _bind(hints[name], bound) for name in names}


def _bind(hint: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return bound[hint]
    open_ones = getattr(hint, "__parameters__", ())
    return hint[tuple(bound[each] for each in open_ones)] if open_ones else hint


def _fields(kind: type, fields: Mapping[str, Any]) -> Codec:
    codecs = {name: codec_of(hint) for name, hint in fields.items()}
    encoders = [(name, codec.encode) for name, codec in codecs.items()]
    decoders = [codec.decode for codec in codecs.values()]
    return Codec(
        f"{kind.__name__}({', '.join(f'{name}: {codec.shape}' for name, codec in codecs.items())})",
        lambda value: [encode(getattr(value, name)) for name, encode in encoders],
        lambda kept: kind(*[decode(each) for decode, each in zip(decoders, kept, strict=True)]),
    )


def _union(members: Sequence[Any]) -> Codec:
    codecs = {member: codec_of(member) for member in members}
    shape = " | ".join(codec.shape for codec in codecs.values())
    others = [member for member in members if member is not NoneType]
    if all(codec.encode is _same for codec in codecs.values()):
        return Codec(shape, _same, _same)
    if len(others) == 1:
        return _optional(shape, codecs[others[0]])
    by_name = {member.__name__: codec for member, codec in codecs.items()}
    return Codec(
        shape,
        lambda value: (name := type(value).__name__, by_name[name].encode(value)),
        lambda kept: by_name[kept[0]].decode(kept[1]),
    )


def _optional(shape: str, codec: Codec) -> Codec:
    return Codec(
        shape,
        lambda value: None if value is None else codec.encode(value),
        lambda kept: None if kept is None else codec.decode(kept),
    )


def _model(kind: type[BaseModel]) -> Codec:
    """Everything but None is written, as in messages: a default that changes later must not change what was kept."""
    fields = ", ".join(f"{name}: {field.annotation}" for name, field in kind.model_fields.items())
    return Codec(
        f"{kind.__name__}({fields})",
        lambda value: value.model_dump(mode="json", exclude_none=True),
        kind.model_validate,
    )


def _collection(hint: Any, origin: Any, arguments: Sequence[Any]) -> Codec:
    if origin in (list, tuple) and arguments[1:] in ((), (...,)):
        item = codec_of(arguments[0])
        return Codec(
            f"{origin.__name__}[{item.shape}]",
            lambda values: [item.encode(each) for each in values],
            lambda kept: origin(item.decode(each) for each in kept),
        )
    if origin is dict:
        value = codec_of(arguments[1])
        return Codec(
            f"dict[{value.shape}]",
            lambda values: {key: value.encode(each) for key, each in values.items()},
            lambda kept: {key: value.decode(each) for key, each in kept.items()},
        )
    raise TypeError(f"A snapshot cannot keep {hint!r}: say how in {__name__}.")


def _names(kind: type[Enum]) -> str:
    return f"{kind.__name__}({', '.join(member.name for member in kind)})"


def _same(value: Any) -> Any:
    return value
