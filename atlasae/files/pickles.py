"""Pickles as records: what a pickle says of objects, by inert stand-ins; nothing of a file runs.

Before anything is made, a pickle is walked through without doing what it says: sizes that it declares must be there.
What is then recorded takes about as much as the file; keys of dictionaries are plain, since a few tuples inside each
other take for ever to be told apart.
"""

import functools
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, ClassVar, Self

MOST_KEYS = 100_000  # of a dictionary
MOST_KEY_PARTS = 100  # of a key that is a tuple
_MOST_BITS = 65_536  # of a whole number
_LARGE = 1 << 16  # bytes to read at once without asking whether they are there
# Opcodes that reach outside the file: objects registered in this process, or handed over beside the stream.
_OUTSIDE = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_PERSISTENT = {"PERSID", "BINPERSID"}
# What a pickle whose bytes were changed makes the unpickler raise.
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


class RefusedError(Exception):
    """A pickle that may be sound, but asks for what no file of its kind needs; in words that follow `refuses`."""


class Recorded:
    """What a pickle says of one object: its class by name, the arguments it was made with, the state it was given."""

    path: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Self:
        """Keep the arguments."""
        recorded = super().__new__(cls)
        recorded.args, recorded.state = args, None
        return recorded

    def __setstate__(self, state: Any) -> None:
        self.state = state


@functools.cache
def stand_in(path: str) -> type[Recorded]:
    """A class that records, named as the one that a pickle names."""
    return type(path.rpartition(".")[2], (Recorded,), {"path": path})


class Bounded:
    """A stream that is asked for no more than there is: a pickle may declare any size."""

    def __init__(self, stream: BinaryIO) -> None:
        self.readline, self.readinto, self.tell = stream.readline, stream.readinto, stream.tell  # type: ignore[attr-defined]
        self._stream, start = stream, stream.tell()
        self.size = stream.seek(0, 2)
        stream.seek(start)

    def read(self, size: int) -> bytes:
        """So many bytes, or as many as there are of few; raises ValueError for many that are not there."""
        if size > _LARGE and size > self.size - self.tell():
            raise ValueError(f"{size} bytes, of which {self.size - self.tell()} are there")
        return self._stream.read(size)


def walk(stream: Bounded, persistent: bool = False) -> None:
    """Go through a pickle without doing what it says; raises RefusedError, or a class of `BROKEN` where it breaks off.

    So a file that breaks off is known before anything is built.
    """
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]  # it reads, and tells where it is
        if opcode.name in _OUTSIDE or (opcode.name in _PERSISTENT and not persistent):
            raise RefusedError(f"pickle opcode {opcode.name}")
        if isinstance(argument, int):
            if opcode.name in ("PUT", "LONG_BINPUT", "FRAME") and argument > stream.size:
                raise ValueError(f"{opcode.name} {argument}")
            if argument.bit_length() > _MOST_BITS:
                raise RefusedError(f"a whole number of {argument.bit_length()} bits")


class Recorder(pickle._Unpickler):
    """Records a pickle; refuses every name but those allowed, by their top package, and what else has no bound.

    `made` are classes that are made as they are, by their names.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    metastack: list[list[Any]]
    memo: dict[int, Any]

    def __init__(
        self, stream: Bounded, allowed: Mapping[str, Iterable[str]], made: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(stream, encoding="latin-1")  # Python 2 wrote arrays as str: latin-1 keeps their bytes
        self.allowed, self.made = allowed, made or {}

    def record(self) -> Any:
        """The object that the pickle is of."""
        try:
            return self.load()
        finally:
            self.memo.clear()  # it holds on to itself, and would to all of this

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for the class; never the class itself, but for those to be `made`."""
        path = f"{module}.{name}"
        if name in self.allowed.get(module.partition(".")[0], ()):
            return self.made.get(path) or stand_in(path)
        shown = ascii(path)[1:-1][:80]  # a name from a file may hold anything, terminal codes too
        raise RefusedError(f"to load {shown}")

    def load_setitem(self) -> None:
        """One key with its value."""
        check_keys(self.stack[-2:-1], self.stack[-3])
        self.dispatched(pickle.SETITEM)

    def load_setitems(self) -> None:
        """Keys with their values."""
        check_keys(self.stack[::2], self.metastack[-1][-1])
        self.dispatched(pickle.SETITEMS)

    def load_dict(self) -> None:
        """A dictionary of what was since the mark."""
        check_keys(self.stack[::2])
        self.dispatched(pickle.DICT)

    def load_additems(self) -> None:
        """Members of a set."""
        check_keys(self.stack, self.metastack[-1][-1])
        self.dispatched(pickle.ADDITEMS)

    def load_frozenset(self) -> None:
        """A set of what was since the mark."""
        check_keys(self.stack)
        self.dispatched(pickle.FROZENSET)

    def dispatched(self, opcode: bytes) -> None:
        """What Python does for an opcode."""
        python: Any = pickle._Unpickler
        python.dispatch[opcode[0]](self)

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: dispatch[pickle.BINBYTES8[0]],  # which makes one copy less
    }


def check_keys(keys: list[Any], into: Any = ()) -> None:
    """Raise RefusedError for keys that may take for ever to be told apart, or too many of them for a dictionary."""
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) > MOST_KEY_PARTS or any(isinstance(part, tuple | frozenset) for part in parts):
            raise RefusedError("a key made of keys")
    if len(keys) + (len(into) if isinstance(into, dict | set) else 0) > MOST_KEYS:
        raise RefusedError(f"a dictionary of more than {MOST_KEYS} keys")
