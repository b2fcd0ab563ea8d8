"""Pickles as records: inert stand-ins with the arguments and states that a pickle names; no code of a file runs.

Before anything is built, the opcodes are walked through: declared sizes must fit the file. The records then take about
as much memory as the file. Keys of dictionaries may not be nested: hashing tuples inside tuples can take for ever.
"""

import functools
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, ClassVar, Self

MOST_KEYS = 100_000  # entries of a dictionary or set
MOST_KEY_PARTS = 100  # items of a tuple used as a key
_MOST_BITS = 65_536  # of an integer
_LARGE = 1 << 16  # bytes: a larger read is first compared with the size of the stream
# Opcodes that reach outside the file: registered extensions, or buffers passed beside the stream.
_OUTSIDE = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_PERSISTENT = {"PERSID", "BINPERSID"}
# Errors of the unpickler on changed bytes.
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
    """A pickle that may be intact, but asks for what no table or checkpoint needs; the message follows `refuses`."""


class Recorded:
    """An object as a pickle describes it: the path of its class, its arguments, its state."""

    path: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Self:
        """Keep the arguments; the class is not called."""
        recorded = super().__new__(cls)
        recorded.args, recorded.state = args, None
        return recorded

    def __setstate__(self, state: Any) -> None:
        self.state = state


@functools.cache
def stand_in(path: str) -> type[Recorded]:
    """A subclass of Recorded for the class that a pickle names, with the same name."""
    return type(path.rpartition(".")[2], (Recorded,), {"path": path})


class Bounded:
    """A stream that refuses to read more bytes than it has: a pickle may declare any size."""

    def __init__(self, stream: BinaryIO) -> None:
        self.readline, self.readinto, self.tell = stream.readline, stream.readinto, stream.tell  # type: ignore[attr-defined]
        self._stream, start = stream, stream.tell()
        self.size = stream.seek(0, 2)
        stream.seek(start)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; raises ValueError for more than 64 kB of which some are missing."""
        if size > _LARGE and size > self.size - self.tell():
            raise ValueError(f"{size} bytes, of which {self.size - self.tell()} are there")
        return self._stream.read(size)


def walk(stream: Bounded, persistent: bool = False) -> None:
    """Read all opcodes of a pickle without executing them, so that a truncated file is known before anything is built.

    Raises RefusedError, or one of `BROKEN` where the bytes are damaged.
    """
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]  # it calls read, readline and tell
        if opcode.name in _OUTSIDE or (opcode.name in _PERSISTENT and not persistent):
            raise RefusedError(f"pickle opcode {opcode.name}")
        if isinstance(argument, int):
            if opcode.name in ("PUT", "LONG_BINPUT", "FRAME") and argument > stream.size:
                raise ValueError(f"{opcode.name} {argument}")
            if argument.bit_length() > _MOST_BITS:
                raise RefusedError(f"an integer of {argument.bit_length()} bits")


class Recorder(pickle._Unpickler):
    """Records a pickle; refuses names other than those `allowed` by top package, and keys without bound.

    `made` maps paths to classes that are used themselves instead of stand-ins.
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
        """The recorded object of the pickle."""
        try:
            return self.load()
        finally:
            self.memo.clear()  # the memo refers to the recorder itself, and would keep all of it alive

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for the class, or one of `made`; raises RefusedError for a name that is not allowed."""
        path = f"{module}.{name}"
        if name in self.allowed.get(module.partition(".")[0], ()):
            return self.made.get(path) or stand_in(path)
        shown = ascii(path)[1:-1][:80]  # a name from a file may hold terminal codes
        raise RefusedError(f"to load {shown}")

    def load_setitem(self) -> None:
        """SETITEM, with its key checked."""
        check_keys(self.stack[-2:-1], self.stack[-3])
        self.dispatched(pickle.SETITEM)

    def load_setitems(self) -> None:
        """SETITEMS, with its keys checked."""
        check_keys(self.stack[::2], self.metastack[-1][-1])
        self.dispatched(pickle.SETITEMS)

    def load_dict(self) -> None:
        """DICT, with its keys checked."""
        check_keys(self.stack[::2])
        self.dispatched(pickle.DICT)

    def load_additems(self) -> None:
        """ADDITEMS, with its items checked."""
        check_keys(self.stack, self.metastack[-1][-1])
        self.dispatched(pickle.ADDITEMS)

    def load_frozenset(self) -> None:
        """FROZENSET, with its items checked."""
        check_keys(self.stack)
        self.dispatched(pickle.FROZENSET)

    def dispatched(self, opcode: bytes) -> None:
        """Execute an opcode as Python's unpickler does."""
        python: Any = pickle._Unpickler
        python.dispatch[opcode[0]](self)

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: dispatch[pickle.BINBYTES8[0]],  # it makes one copy less
    }


def check_keys(keys: list[Any], into: Any = ()) -> None:
    """Raise RefusedError for nested keys, whose hashes may take for ever, or too many keys for a dictionary."""
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) > MOST_KEY_PARTS or any(isinstance(part, tuple | frozenset) for part in parts):
            raise RefusedError("a key made of keys")
    if len(keys) + (len(into) if isinstance(into, dict | set) else 0) > MOST_KEYS:
        raise RefusedError(f"a dictionary of more than {MOST_KEYS} keys")
