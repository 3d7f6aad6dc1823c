"""How a state lies in an object: a line per few hundred entries of its maps, so that no line takes long.

Whoever writes or reads can let others have their turn between two lines; the maps must not change meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from json import JSONEncoder
from typing import Any, Generic, TypeVar, get_args, get_origin

from rpds import HashTrieMap

from .codec import Codec, Trie, codec_of, fields_of

ENTRIES_MAX = 200  # of a map in one line: about a millisecond to write

T = TypeVar("T")
Line = tuple[str, Any]  # a path and what lies there: entries of a map, or the values that are not maps

as_json = JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class _Map:
    codec: Codec  # of the values; keys are text
    build: Callable[[dict[str, Any]], Any]


class Layout(Generic[T]):
    """Of a dataclass whose fields are maps, dataclasses with maps in them, or small values."""

    def __init__(self, state: Any, path: str = "") -> None:
        self._kind, self._path = get_origin(state) or state, path
        fields = fields_of(state) or {}
        self._small: dict[str, Codec] = {}
        self._maps: dict[str, _Map] = {}
        self._inner: dict[str, Layout[Any]] = {}
        for name, hint in fields.items():
            self._place(name, hint)

    @property
    def shape(self) -> str:
        shapes = {name: codec.shape for name, codec in self._small.items()}
        shapes |= {name: f"map[{kept.codec.shape}]" for name, kept in self._maps.items()}
        shapes |= {name: inner.shape for name, inner in self._inner.items()}
        return f"{self._kind.__name__}({', '.join(f'{name}: {shape}' for name, shape in shapes.items())})"

    def lines(self, state: T, order: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Iterator[Line]:
        """`order` is that of a map's entries, which otherwise come as they lie."""
        yield self._path, [codec.encode(getattr(state, name)) for name, codec in self._small.items()]
        for name, kept in self._maps.items():
            entries = iter(order(getattr(state, name).items()))
            while some := list(islice(entries, ENTRIES_MAX)):
                yield self._path + name, {key: kept.codec.encode(value) for key, value in some}
        for name, inner in self._inner.items():
            yield from inner.lines(getattr(state, name), order)

    def digest(self, state: T) -> str:
        """Equal for equal states, whatever the order in which their maps lie."""
        text = "\n".join(as_json(line) for line in self.lines(state, by_key))
        return sha256(text.encode()).hexdigest()

    def differing(self, one: T, other: T) -> list[str]:
        """What is not equal in the two, by the names of its fields."""
        digests, others = self._digests(one), self._digests(other)
        return sorted(name for name in digests.keys() | others.keys() if digests.get(name) != others.get(name))

    def _digests(self, state: T) -> dict[str, str]:
        found: defaultdict[str, Any] = defaultdict(sha256)
        for path, content in self.lines(state, by_key):
            for name, each in zip(self._small, content, strict=True) if path == self._path else [(path, content)]:
                found[name].update(as_json(each).encode())
        return {name: digest.hexdigest() for name, digest in found.items()}

    def gathering(self) -> Gathering[T]:
        return Gathering(self)

    def _place(self, name: str, hint: Any) -> None:
        if get_origin(hint) in (Trie, dict):
            build = HashTrieMap if get_origin(hint) is Trie else dict
            self._maps[name] = _Map(codec_of(get_args(hint)[1]), build)
        elif any(get_origin(each) in (Trie, dict) for each in (fields_of(hint) or {}).values()):
            self._inner[name] = Layout(hint, f"{self._path}{name}.")
        else:
            self._small[name] = codec_of(hint)

    def _decoders(self) -> dict[str, Callable[[Any], Any]]:
        found = {self._path + name: kept.codec.decode for name, kept in self._maps.items()}
        for inner in self._inner.values():
            found |= inner._decoders()
        return found

    def _build(self, small: Mapping[str, list[Any]], maps: Mapping[str, dict[str, Any]]) -> T:
        kept = zip(self._small.items(), small[self._path], strict=True)
        values = {name: codec.decode(value) for (name, codec), value in kept}
        values |= {name: each.build(maps[self._path + name]) for name, each in self._maps.items()}
        values |= {name: inner._build(small, maps) for name, inner in self._inner.items()}
        built: T = self._kind(**values)
        return built


class Gathering(Generic[T]):
    """A state on its way back: line by line, then whole."""

    def __init__(self, layout: Layout[T]) -> None:
        self._layout = layout
        self._decoders = layout._decoders()
        self._maps: dict[str, dict[str, Any]] = {path: {} for path in self._decoders}
        self._small: dict[str, list[Any]] = {}

    def add(self, line: Line) -> None:
        path, content = line
        if decode := self._decoders.get(path):
            self._maps[path].update((key, decode(value)) for key, value in content.items())
        else:
            self._small[path] = content

    def state(self) -> T:
        return self._layout._build(self._small, self._maps)


def by_key(entries: Iterable[Any]) -> Iterable[Any]:
    """One order for equal maps; all entries have to be there at once for it."""
    return sorted(entries, key=lambda entry: entry[0])
