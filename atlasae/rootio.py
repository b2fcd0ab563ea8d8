"""ROOT files in and out: the one door to uproot."""

import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import awkward as ak
import cramjam
import numpy as np
import uproot

from atlasae.baskets import compress_basket, store_basket
from atlasae.columns import checksum_bytes
from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.schema import Branch, Unwritable

OBJECTS = uproot.ZLIB(6)  # where files are merged, histograms add up, and no checksum of ours guards them: ZLIB does
ZEROS = uproot.ZSTD(9)  # of branches of zeros: xz takes more around them
PAGES = uproot.LZMA(9)  # of an RNTuple with latents: all its fields are compressed alike
ALGORITHMS = {"zlib": uproot.ZLIB, "lzma": uproot.LZMA, "lz4": uproot.LZ4, "zstd": uproot.ZSTD}
_DEFAULT_COMPRESSION = uproot.ZSTD(5)
_IN_MEMORY = ("@fUniqueID", "@fBits")  # of an object: where and how it is held


def _unpack(into: Callable[[Any, Any], int], data: Any, uncompressed_bytes: int) -> Any:
    """Decompress as many bytes as a block says it holds; raises where there are more of them, and takes no memory."""
    unpacked = np.empty(uncompressed_bytes, np.uint8)
    return unpacked[: into(data, unpacked)]


# A few hundred bytes of a file may unpack to as many gigabytes, and uproot's own would do it before it looks.
for _name, _into in {"ZLIB": cramjam.zlib, "LZMA": cramjam.xz, "ZSTD": cramjam.zstd}.items():
    getattr(uproot.compression, f"_decompress_{_name}").decompress = partial(_unpack, _into.decompress_into)


class BasketLZMA(uproot.LZMA):  # type: ignore[misc]
    """LZMA for branches of four-byte values, with the filters of `atlasae.baskets`."""

    def compress(self, data: bytes) -> bytes:
        """Compress one block of a basket."""
        return compress_basket(bytes(data))


class StoredLZMA(uproot.LZMA):  # type: ignore[misc]
    """LZMA for branches of bytes that are packed already: it stores them, for time spent on them is lost."""

    def compress(self, data: bytes) -> bytes:
        """Store one block of a basket."""
        return store_basket(bytes(data))


class Tree:
    """A TTree or RNTuple: which branches can be carried, and their values a run of events at a time."""

    def __init__(self, source: Any, name: str) -> None:
        self.name = name
        self.title = str(getattr(source, "title", "") or "")
        self.entries = int(source.num_entries)
        self.is_rntuple = not isinstance(source, uproot.TTree)
        self._source = source

    @cached_property
    def branches(self) -> list[Branch]:
        """The branches that can be carried, in the order of the file."""
        found = [branch for branch in self._described if isinstance(branch, Branch)]
        # The hidden size of a TClonesArray is no branch.
        known = {branch.name for branch in found if not branch.jagged}
        return [branch if branch.counter in known else replace(branch, counter=None) for branch in found]

    @cached_property
    def unwritable(self) -> list[Unwritable]:
        """The branches that can't be carried."""
        return [branch for branch in self._described if isinstance(branch, Unwritable)]

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these branches for events [start, stop); raises DamagedFileError."""
        events = {}
        for name in names:
            with damage(f"branch '{name}' of tree '{self.name}' in entries {start} to {stop}"):
                array = _read(self._fields[name], start, stop)
                if len(array) != stop - start:
                    raise ValueError(f"{len(array)} of {stop - start} entries")
            events[name] = array
        return events

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Uncompressed size of an entry of these branches."""
        sizes = [getattr(self._fields[name], "uncompressed_bytes", None) for name in names]
        known = sum(size for size in sizes if size) or 8 * len(names) * self.entries
        return known / max(1, self.entries)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Compressed basket bytes of these branches."""
        if self.is_rntuple:  # it needs no counters
            return sum(_page_bytes(self._fields[name]) for name in names if name in self._fields)
        return sum(int(self._fields[name].compressed_bytes) for name in names)

    @property
    def compression(self) -> Any:
        """How the branches are compressed, ZSTD(5) where the file does not say."""
        found = (branch for branch in self._fields.values() if hasattr(branch, "compression"))
        try:
            return next((c for branch in found if (c := branch.compression) is not None), _DEFAULT_COMPRESSION)
        except ValueError:  # a setting that does not exist
            return _DEFAULT_COMPRESSION

    @property
    def names(self) -> set[str]:
        """The names of all branches that hold values."""
        return set(self._fields)

    @cached_property
    def _fields(self) -> dict[str, Any]:
        """Whatever holds values, by name."""
        fields: dict[str, Any] = {}
        for name, found in _holders(self._source):
            fields.setdefault(name, found)
        return fields

    @cached_property
    def _described(self) -> list[Branch | Unwritable]:
        forms = self._source.to_akform()[0] if self.is_rntuple else None
        described: list[Branch | Unwritable] = []
        for name, found in _holders(self._source):
            if found is not self._fields[name]:
                described.append(Unwritable(name, "the second branch of this name"))
                continue
            try:
                described.append(_describe(name, found, forms.content(name) if forms is not None else None))
            except Exception as error:  # an interpretation that fails is one that can't be carried
                described.append(Unwritable(name, _line(error)))
        return described


@dataclass
class Source:
    """An open ROOT file: its trees by path, its other objects, and what was passed over in it."""

    path: Path
    file: Any
    trees: dict[str, Tree] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)

    def copy_object(self, name: str, target: "Target | None" = None) -> int | str:
        """Copy a histogram or the like, or only read it; its checksum, or the reason where uproot can't."""
        try:
            found = self.file[name]
            thing = str(found) if isinstance(found, str) else found
            if target:
                target.write_object(name, thing)
            return checksum_bytes(*_facts(_as_written(thing)))
        except Exception as error:  # whatever class can't be written, and however uproot says so
            return _line(error)


def is_root(path: Path) -> bool:
    """Whether a file begins as a ROOT file does, whatever it is called: grids call them x.root.1."""
    with path.open("rb") as raw:
        return raw.read(4) == b"root"


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a ROOT file to read; raises UserError where it is none, DamagedFileError where it breaks off."""
    if not path.is_file():
        raise UserError(f"'{path}' is a folder: name a file in it" if path.is_dir() else f"no such file: '{path}'")
    if not is_root(path):
        raise UserError(f"'{path}' is not a ROOT file: give a .root file, or a table (.pkl, .parquet)")
    with damage(f"'{path}'"):
        file = uproot.open(path, object_cache=None, array_cache=None)
    with file:
        source = Source(path, file)
        with damage(f"'{path}'"):
            _check_size(source)
            _fill(source)
        yield source


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turn whatever uproot raises on bad bytes into a DamagedFileError about `what`."""
    try:
        yield
    except AtlasaeError:
        raise
    except Exception as error:  # bad bytes lead uproot, and the decompressors below it, to any of a dozen classes
        raise DamagedFileError(f"{what} is damaged: {_line(error)}") from error


class Target:
    """A ROOT file being written, tree by tree."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def make_tree(
        self,
        name: str,
        columns: Mapping[str, ak.Array],
        title: str = "",
        counters: Mapping[str, str] | None = None,
        compression: Any = None,
        words: Collection[str] = (),
        rntuple: bool = False,
    ) -> "Writer":
        """Declare a tree with branches like these (arrays with the right types; their values are not written).

        `counters` names the counter of a jagged branch, `n<branch>` unless given; branches may share one. `words` are
        branches (or counters) of four-byte values to compress as latents are.
        """
        counters = counters or {}
        types = {column: _declared(array) for column, array in columns.items()}
        if rntuple:
            return Writer(self.file.mkrntuple(name, types, description=title))
        tree = self.file.mktree(name, types, title=title, counter_name=lambda c: counters.get(c, f"n{c}"))
        if compression is not None:
            tree.compression = compression
        for column in words:
            tree[column].compression = BasketLZMA(9)
        return Writer(tree)

    def write_object(self, name: str, thing: Any) -> None:
        """Write a histogram, a text (as TObjString) or the like."""
        before, self.file.compression = self.file.compression, OBJECTS
        try:
            self.file[name] = thing
        finally:
            self.file.compression = before


@dataclass
class Writer:
    """A tree being filled."""

    tree: Any

    def expect_zeros(self, branches: Collection[str]) -> None:
        """Compress branches as those that hold little else; before anything is written."""
        for name in branches:
            self.tree[name].compression = ZEROS

    def store(self, branches: Collection[str]) -> None:
        """Leave branches of packed bytes as they are; before anything is written."""
        for name in branches:
            self.tree[name].compression = StoredLZMA(9)

    def extend(self, events: Mapping[str, ak.Array]) -> None:
        """Append events; nothing happens where there are none (ROOT can't read an empty cluster)."""
        if len(next(iter(events.values()))):
            self.tree.extend(dict(events))


class Behind:
    """Writes every chunk while the next is made, in a thread of its own: compressors leave Python to others."""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._pool, self._last = ThreadPoolExecutor(1), Future[None]()
        self._last.set_result(None)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the last chunk; what went wrong there is raised here."""
        with self._pool:
            if kind is None:
                self._last.result()

    def extend(self, writer: Writer, events: Mapping[str, ak.Array]) -> None:
        """Append events when those before are written."""
        self._last.result()
        self._last = self._pool.submit(writer.extend, events)


@contextmanager
def create(path: Path, compression: Any = _DEFAULT_COMPRESSION) -> Iterator[Target]:
    """Open a ROOT file to write; an RNTuple's pages are compressed as the file is."""
    with uproot.recreate(path, compression=compression) as file:
        yield Target(file)


def parse_compression(text: str) -> Any:
    """Read `zstd:5`, `lzma:9`, ... ; raises UserError."""
    name, _, level = text.partition(":")
    if name not in ALGORITHMS or not (level or "5").isdigit():
        raise UserError(f"--compression '{text}': give one of {', '.join(ALGORITHMS)} and a level, such as zstd:5")
    try:
        return ALGORITHMS[name](int(level or "5"))
    except ValueError as error:
        raise UserError(f"--compression '{text}': {_line(error)}") from error


def _check_size(source: Source) -> None:
    """A file that was cut may end in bytes nobody reads; its header tells how long it was."""
    size, whole = source.path.stat().st_size, int(source.file.file.fEND)
    if size < whole:
        raise ValueError(f"it ends after {size} of {whole} bytes; get it again")


def _fill(source: Source) -> None:
    """Sort the latest cycle of every object of a file into trees and others."""
    for name, kind in source.file.classnames(cycle=False).items():
        if kind in ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"):
            source.trees[name] = Tree(source.file[name], name)
        elif not kind.startswith("TDirectory"):
            source.objects.append(name)


def _holders(source: Any) -> Iterator[tuple[str, Any]]:
    """Name and branch (or RNTuple field) of whatever holds values."""
    if not isinstance(source, uproot.TTree):
        yield from ((top.name, top) for top in source.fields)
        return
    for branch in source.itervalues(recursive=True):
        # A branch with branches below it groups them, and holds nothing but, at most, their counter.
        if not branch.branches:
            yield branch.name, branch


def _describe(name: str, found: Any, form: Any) -> Branch | Unwritable:
    """What a branch holds, or why a TTree can't hold it."""
    if form is None:
        if not isinstance(found.interpretation, (uproot.AsDtype, uproot.AsJagged, uproot.AsStrings)):
            return Unwritable(name, f"uproot writes no {_short(found.typename)}")
        if found.streamer is not None and name.endswith("fBits"):
            # TObject::Streamer adds two bytes to each fBits of an object that some TRef refers to.
            return Unwritable(name, "uproot reads the bits of a TObject wrongly where references point to it")
        form = found.interpretation.awkward_form(found.file)
    if form.parameter("__array__") == "string":
        return Branch(name, "string", jagged=False)
    jagged = form.is_list and not form.is_regular
    number = form.content if jagged else form
    while number.is_regular and not jagged:
        number = number.content
    fixed = form.is_regular or len(getattr(number, "inner_shape", ())) > 0
    dtype = np.dtype(number.primitive) if number.is_numpy else np.dtype(object)
    if (jagged and fixed) or dtype.kind not in "biuf" or dtype == np.float16:
        return Unwritable(name, f"a TTree written by uproot holds no {_short(form.type)}")
    return Branch(name, dtype.str + " array" * fixed, jagged, _counter(found) if jagged else None)


def _page_bytes(ntuple_field: Any) -> int:
    form = ntuple_field.to_akform()[0]
    keys = re.findall(r'"column-(\d+)', form.to_json())
    clusters = ntuple_field.ntuple.page_link_list
    return sum(page.locator.num_bytes for cluster in clusters for key in set(keys) for page in cluster[int(key)].pages)


def _counter(branch: Any) -> str | None:
    """The counter of a jagged branch of a TTree."""
    leaf = branch.member("fLeaves")[0].member("fLeafCount") if hasattr(branch, "member") else None
    return None if leaf is None else str(leaf.member("fName"))


def _read(found: Any, start: int, stop: int) -> ak.Array:
    options = {"array_cache": None} if hasattr(found, "interpretation") else {}
    return found.array(entry_start=start, entry_stop=stop, **options)


def _as_written(thing: Any) -> Any:
    """An object as it is read once uproot has written it: what is stored of a class differs by who wrote it."""
    file = uproot.recreate(buffer := io.BytesIO())  # uproot closes the buffer with the file: too early
    file["x"] = thing
    with uproot.open(io.BytesIO(buffer.getvalue())) as written:
        return written["x"]


def _facts(thing: Any) -> Iterator[bytes]:
    """All that an object says, but what ROOT changes when it reads and writes it."""
    if isinstance(thing, uproot.Model) and not isinstance(thing, str):
        yield thing.classname.encode()
        members = (value for name, value in sorted(thing.members.items()) if name not in _IN_MEMORY)
        for part in (*thing.bases, *members, getattr(thing, "_data", ())):  # of arrays and lists
            yield from _facts(part)
    elif isinstance(thing, np.ndarray):
        yield np.ascontiguousarray(thing, thing.dtype.newbyteorder("<")).tobytes()
    elif isinstance(thing, Iterable) and not isinstance(thing, str | bytes):
        for part in thing:
            yield from _facts(part)
    else:
        yield str(thing).encode()


def _declared(array: ak.Array) -> Any:
    """The type mktree and mkrntuple are to declare for an array."""
    layout = array.layout
    if layout.parameter("__array__") == "string":
        return "string"
    if layout.is_list and not layout.is_regular:
        return layout.form.type
    values = ak.to_numpy(array)
    return np.dtype((values.dtype, values.shape[1:]))


def _line(error: BaseException) -> str:
    return _short(" ".join(str(error).split()) or type(error).__name__, 150)


def _short(kind: Any, longest: int = 60) -> str:
    text = str(kind)
    return text if len(text) <= longest else text[: longest - 3] + "..."
