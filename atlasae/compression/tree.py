"""Compressed files read as the original trees: jets are decoded when they are read."""

import ast
import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import awkward as ak
import numpy as np
import numpy.typing as npt
import vector

from atlasae.compression.chunks import Chunks, WrittenChunk
from atlasae.compression.format import Chunk, Contents, Run, check_alike
from atlasae.compression.grafting import rewritten
from atlasae.compression.pieces import check_parts, contents_of, in_order
from atlasae.compression.plan import Options, parse_size
from atlasae.errors import UserError
from atlasae.files.events import Array, dtype_of, flatten, is_nested, numbers_in, one_after_another
from atlasae.files.remote import Location, Named, all_located, located
from atlasae.files.tables import to_frame
from atlasae.files.trees import Source, open_source
from atlasae.jets.collections import Collection, main_collection, stand_ins
from atlasae.report import PageTable, bars_html, counted, some, to_html

Filter = str | Sequence[str] | Callable[[str], bool] | None

_LIBRARIES = ("ak", "np", "pd")
STEP_SIZE = "20 MB"
_TYPES = {  # of numbers, as uproot names them
    "b1": "bool", "i1": "int8_t", "i2": "int16_t", "i4": "int32_t", "i8": "int64_t",
    "u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "u8": "uint64_t", "f4": "float", "f8": "double",
}  # fmt: skip
_IN_CUTS = (
    *(ast.Expression, ast.Name, ast.Attribute, ast.Load, ast.Constant, ast.Compare, ast.cmpop, ast.BinOp, ast.operator),
    *(ast.UnaryOp, ast.unaryop),
)
_VECTOR_NAMES = {"m": "mass", "E": "energy"}  # names of the fields in scikit-hep vector


def open(paths: Named | Sequence[Named], trust: Named | None = None, *, tree: str | None = None) -> "CompressedTree":
    """Open a compressed file, or several with the same branches, as the tree that was compressed.

    Of files with several trees of jets, `tree` names one; so does `path:tree`. Parts of a split file are sorted.
    Nothing is written to disk. For skims (some of the entries or branches), `trust`
    is the compressed file that they were made from; no checksums are compared then. Raises UserError for other files
    and for parts that do not fit together, DamagedFileError for damaged ones.

    >>> with atlasae.open("small.root") as tree:
    ...     tree.arrays(["Jet_pt", "Jet_eta"], entry_stop=2).fields
    ['Jet_pt', 'Jet_eta']
    """
    names = [*_with_trees(paths, tree)]
    if not names:
        raise UserError("no file to open: name one, or several parts")
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(path)) for path, _ in names]
        trusted = located(trust) if trust else None
        skims = [contents_of(source, trusted, Options.step_size).contents for source in sources]
        pairs = [(s, _of_tree(s, c, name)) for s, c, (_, name) in zip(sources, skims, names, strict=True)]
        order = in_order([contents for _, contents in pairs])
        parts = [OpenedPart(*pairs[place]) for place in order]
        what = f"'{sources[0].path}'" if len(sources) == 1 else f"the list of {len(sources)} files"
        if trusted is None:  # a skim of a part is not a part
            check_parts(what, [run for part in parts for run in part.jets.contents.runs], whole=len(sources) > 1)
        return CompressedTree(parts, stack.pop_all())


def _with_trees(paths: Named | Sequence[Named], tree: str | None) -> Iterator[tuple[Location, str | None]]:
    """The files that are named, each with the tree asked for: that behind a colon, if there is no file of that name."""
    for path in all_located(paths):
        before, colon, after = str(path).rpartition(":")
        if isinstance(path, Path) and colon and not path.exists() and Path(before).is_file():
            yield Path(before), after
        else:
            yield path, tree


def _of_tree(source: Source, contents: Contents, name: str | None) -> Contents:
    """The contents of the tree of this name, or of the only one; raises UserError."""
    trees = contents.of_trees()
    if name is None and len(trees) > 1:
        raise UserError(f"'{source.path}' has several trees: name one by tree=..., of {some(trees, 12)}")
    if name is not None and name not in trees:
        raise UserError(f"'{source.path}' has no compressed jets in a tree '{name}': there are {some(trees, 12)}")
    return trees[name or contents.tree]


class OpenedPart:
    """One of the files: the chunks of its jets, and those with all that can be read of it, which takes longer."""

    def __init__(self, source: Source, contents: Contents) -> None:
        self._source = source
        self.jets = Chunks(source, contents)

    @cached_property
    def whole(self) -> Chunks:
        """The chunks with the branches that were copied byte for byte, too, of which the folder does not tell."""
        contents = rewritten(self._source, self.jets.contents)
        return self.jets if contents is self.jets.contents else Chunks(self._source, contents)

    def read(self, number: int, names: Sequence[str], known: Mapping[str, ak.Array], of_jets: bool) -> WrittenChunk:
        """The chunk of this number as `Chunks.read` reads it; `of_jets`: no other branches are asked for."""
        chunks, places = (self.jets, self._jet_places) if of_jets else (self.whole, self._places)
        return chunks.read(*places[number], names, known)

    @cached_property
    def _jet_places(self) -> list[tuple[Run, int, Chunk]]:
        return list(self.jets)

    @cached_property
    def _places(self) -> list[tuple[Run, int, Chunk]]:
        return list(self.whole)


@dataclass(frozen=True)
class Place:
    """A chunk of one of the files, which one of it, and its entries, `begin` to `end` (excluded), in the whole tree."""

    part: OpenedPart
    number: int
    run: Run
    chunk: Chunk
    begin: int
    end: int


class CompressedTree(Mapping[str, "CompressedBranch"]):
    """The tree that was compressed, over one or several files: a mapping of branches, with methods as in uproot.

    Every branch that is read is compared with its checksum, but for those that `compress` copied byte for byte, which
    `verify` compares. What these are is found out when one of them, or all names, are asked for. The last chunk is kept
    decoded, so that it is not decoded again for further reads, while memory does not grow with the file.
    """

    def __init__(self, parts: Sequence[OpenedPart], resources: ExitStack) -> None:
        self._resources = resources
        self._closed = False
        self._parts = parts
        self._places = list(_places(parts))
        self._kept: tuple[Place | None, dict[str, ak.Array], dict[str, ak.Array]] = None, {}, {}
        told = parts[0].jets.contents.runs[0]
        self.name = told.tree
        self.title = told.title
        self.num_entries = self._places[-1].end
        self._collections = {entry.collection.name: entry.collection for entry in told.collections}
        self._jets = {name for collection in self._collections.values() for name in collection.own}
        if len(parts) > 1:  # the runs of one file are compared when its folder is read
            check_alike([run for part in parts for run in part.whole.contents.runs], "what you open", merged=False)

    def __enter__(self) -> Self:
        """The tree itself; its files are closed at the end of the `with` block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files; reading raises UserError afterwards."""
        self._closed = True
        self._resources.close()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._jets or name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __repr__(self) -> str:
        entries = counted(self.num_entries, "entries")
        if self._is_lost:
            return f"<CompressedTree {self.name!r} (closed, {entries})>"
        branches = counted(len(self._names), "branches")
        return f"<CompressedTree {self.name!r} ({branches}, {entries})>"

    @property
    def _is_lost(self) -> bool:
        """Whether the tree was closed before anything but its jets was asked for."""
        return self._closed and "_run" not in vars(self)

    def _repr_html_(self) -> str:
        if self._is_lost:
            return to_html([repr(self)])
        rows = [
            [branch, variable, collection.unit_of(variable), np.dtype(collection.dtypes[variable]).name]
            for collection in self._collections.values()
            for variable, branch in collection.branches.items()
        ]
        jets = {branch for branch, *_ in rows}
        others = [name for name in self._names if name not in jets]
        page = to_html([
            f"tree '{self.name}': {counted(self.num_entries, 'entries')}",
            PageTable(["branch", "variable", "unit", "type"], rows, words=(0, 1, 2, 3)),
            *([f"and {len(others)} other branches: {some(others, 6)}"] if others else []),
        ])  # fmt: skip
        return f"{page}\n{bars_html(self._bytes_per_jet(), 'bytes per jet, before and after')}".rstrip()

    def _bytes_per_jet(self) -> list[tuple[str, float, float]]:
        """The names of the collections with jets, and their bytes per jet before and after; none of a skim."""
        if self._closed or not all(place.chunk.checksums for place in self._places):
            return []
        found = []
        for name, collection in self._collections.items():
            chunks = [part.jets for part in self._parts]
            entries = [entry for one in chunks for entry in one.contents.over_runs(name)]
            after = sum(one.tree.compressed_bytes(stand_ins(collection, self._run.counters)) for one in chunks)
            if jets := sum(entry.jets for entry in entries):
                found.append((name, sum(entry.bytes_in for entry in entries) / jets, after / jets))
        return found

    def __getitem__(self, name: str) -> "CompressedBranch":
        """The branch of this name; raises KeyError if there is none."""
        if name not in self:
            raise KeyError(self._missing(name))
        return CompressedBranch(self, name)

    def _ipython_key_completions_(self) -> list[str]:
        return self._names

    def _missing(self, name: str) -> str:
        """The message that there is no such branch, with those of the nearest names."""
        others = self._parts[0].whole.tree.unwritable
        if why := next((one.why for one in others if one.name == name), ""):
            return f"branch '{name}' of tree '{self.name}' is not read here ({why}), but lies in the file as it was"
        near = difflib.get_close_matches(str(name), self._names, n=3)
        listed = f"nearest are {', '.join(near)}" if near else f"there are {some(self._names)}"
        return f"no branch '{name}' in tree '{self.name}': {listed}; `show()` lists all"

    def keys(self, *, filter_name: Filter = None) -> list[str]:  # type: ignore[override]  # a list, as uproot's is
        """The names of the branches; a filter is a glob, `/a regular expression/`, several of these, or a function."""
        return [name for name in self._names if _passes(name, filter_name)]

    def dtypes(self, *, filter_name: Filter = None) -> dict[str, str]:
        """The dtype of the branches of numbers, without byte order, followed by `[]` if an entry is a list of them."""
        known = {c: "i4" for c in self._counters}
        for collection in self._collections.values():
            dtypes = ((name, collection.dtypes[variable]) for variable, name in collection.branches.items())
            known |= {name: f"{dtype[1:]}{'[]' * collection.jagged}" for name, dtype in dtypes}
        numbers = (branch for branch in self._run.carried if branch.holds_numbers)
        known |= {branch.name: f"{branch.dtype[1:]}{'[]' * branch.jagged}" for branch in numbers}
        named = ((name, self._run.aliases.get(name, name)) for name in self.keys(filter_name=filter_name))
        return {name: known[stays] for name, stays in named if stays in known}

    def typenames(self, *, filter_name: Filter = None) -> dict[str, str]:
        """The C++ type of each branch as it was compressed: `float[]` is a list of floats in every entry."""
        others = {branch.name: branch.dtype for branch in self._run.carried}
        dtypes = self.dtypes(filter_name=filter_name)
        named = ((name, self._run.aliases.get(name, name)) for name in self.keys(filter_name=filter_name))
        return {name: _typename(dtypes.get(name) or others.get(stays, "")) for name, stays in named}

    def show(self, *, filter_name: Filter = None) -> None:
        """Print the name and the type of every branch."""
        types = self.typenames(filter_name=filter_name)
        width = max(map(len, types), default=0)
        print("\n".join(f"{name:{width}} | {kind}" for name, kind in types.items()))

    @property
    def collections(self) -> list[str]:
        """The names of the compressed collections, for `jets`."""
        return [name for name, collection in self._collections.items() if not collection.has_others]

    def arrays(
        self,
        expressions: str | Iterable[str] | None = None,
        *,
        filter_name: Filter = None,
        entry_start: int | None = None,
        entry_stop: int | None = None,
        cut: str | None = None,
        library: str = "ak",
    ) -> Any:
        """Branches for entries [entry_start, entry_stop): records ("ak"), a dict ("np") or a DataFrame ("pd").

        `expressions` are names of branches, by default all; `cut` keeps entries, as in `(nJet > 1) & (MET_pt > 50)`. A
        DataFrame is indexed by the entries of the tree. Raises UserError for unknown branches and other cuts.
        """
        names = self._chosen(expressions, filter_name)
        begin, end, _ = slice(entry_start, entry_stop).indices(self.num_entries)
        if cut is None:
            return _in_library(self._read(names, begin, end), library, range(begin, max(begin, end)))
        kept = self._passing(cut, begin, end)
        events = {name: array[kept] for name, array in self._read(names, begin, end).items()}
        return _in_library(events, library, begin + np.flatnonzero(kept))

    def _passing(self, cut: str, begin: int, end: int) -> npt.NDArray[np.bool_]:
        """Which of these entries pass a cut; raises UserError."""
        try:
            parsed = ast.parse(cut, mode="eval")
        except SyntaxError as error:
            raise UserError(f"cut '{cut}' can't be read: {error.msg}") from error
        if wrong := [node for node in ast.walk(parsed) if not isinstance(node, _IN_CUTS)]:
            what = type(wrong[0]).__name__
            raise UserError(f"cut '{cut}' has a {what}: compare branches, and join comparisons by & and |")
        named = _Named()
        code = compile(ast.fix_missing_locations(named.visit(parsed)), "cut", "eval")
        events = self._read(self._chosen(list(named.branches), None), begin, end)
        variables = {variable: events[name] for name, variable in named.branches.items()}
        try:
            with np.errstate(all="ignore"):  # infinite and missing numbers pass or not, without a warning
                found = ak.Array(eval(code, {"__builtins__": {}}, variables))
        except (TypeError, ValueError) as error:
            raise UserError(f"cut '{cut}' can't be computed: {str(error).splitlines()[0]}") from error
        if found.ndim != 1 or dtype_of(found) != "|b1":
            raise UserError(f"cut '{cut}' gives {found.type}: give one truth value an entry, as `nJet > 1` does")
        return np.asarray(ak.to_numpy(found))

    def iterate(
        self,
        expressions: str | Iterable[str] | None = None,
        *,
        step_size: int | str = STEP_SIZE,
        filter_name: Filter = None,
        entry_start: int | None = None,
        entry_stop: int | None = None,
        library: str = "ak",
    ) -> Iterator[Any]:
        """As `arrays`, for `step_size` entries (or bytes, such as "20 MB") at a time; memory does not grow."""
        names = self._chosen(expressions, filter_name)
        step = self._entries_in(step_size, names)
        begin, end, _ = slice(entry_start, entry_stop).indices(self.num_entries)
        for start in range(begin, end, step):
            stop = min(start + step, end)
            yield _in_library(self._read(names, start, stop), library, range(start, stop))

    def jets(
        self, collection: str | None = None, *, entry_start: int | None = None, entry_stop: int | None = None
    ) -> ak.Array:
        """The jets of a collection (by default `main`) as records that behave like four-vectors.

        For example `jets.mass`, in the units of the file, `jets.deltaR(other)`, or `(pairs[:, 0] + pairs[:, 1]).mass`
        with `pairs = jets[ak.num(jets) > 1]`. `jets.attrs` names the `collection` and its `units`.
        """
        chosen = self._collection(collection)
        events = self._read(list(chosen.branches.values()), entry_start, entry_stop)
        names = {v: name for v, name in chosen.branches.items() if v != "E" or "m" not in chosen.branches}
        fields = {_VECTOR_NAMES.get(v, v): events[name] for v, name in names.items()}
        jets = vector.zip(fields)
        jets.attrs = {"collection": chosen.name, "units": chosen.units}
        return jets

    @property
    def main(self) -> str:
        """The collection that `jets` takes by default (`main_collection`); raises UserError if none holds jets."""
        jets = {name: 0 for name, collection in self._collections.items() if collection.holds_jets}
        if not jets:
            raise UserError(f"no jets in tree '{self.name}': read its branches by `arrays`")
        for run in {id(place.run): place.run for place in self._places}.values():
            for entry in run.collections:
                if entry.collection.name in jets:
                    jets[entry.collection.name] += entry.jets
        return main_collection(jets)

    @cached_property
    def _run(self) -> Run:
        """The first run with all branches; raises UserError if the tree is closed, DamagedFileError."""
        self._check_open()
        return self._parts[0].whole.contents.runs[0]

    def _check_open(self) -> None:
        if self._closed:
            raise UserError(f"tree '{self.name}' is closed: read it before, or open the file again")

    @cached_property
    def _counters(self) -> dict[str, str]:
        """The counters of the original, each with a branch that it counts."""
        jets = [(c.counter, name) for c in self._collections.values() for name in c.branches.values()]
        carried = [(branch.counter, branch.name) for branch in self._run.carried]
        return {counter: name for counter, name in (*jets, *carried) if counter}

    @cached_property
    def _names(self) -> list[str]:
        firsts = {name: self._run.counters[name] for name in self._run.originals if name in self._run.counters}
        named = ([c, name] if (c := firsts.get(name)) in self._counters else [name] for name in self._run.originals)
        return list(dict.fromkeys(name for pair in named for name in pair))

    def _collection(self, name: str | None) -> Collection:
        four = {key: c for key, c in self._collections.items() if c.holds_jets}
        if name is not None and name not in four:
            listed = f"there are {', '.join(four)}" if four else "read its branches by `arrays`"
            raise UserError(f"no jets '{name}' in tree '{self.name}': {listed}")
        return four[self.main if name is None else name]

    def _chosen(self, expressions: str | Iterable[str] | None, filter_name: Filter) -> list[str]:
        if expressions is None:
            return self.keys(filter_name=filter_name)
        names = [expressions] if isinstance(expressions, str) else list(expressions)
        if missing := [name for name in names if name not in self]:
            raise UserError(self._missing(missing[0]))
        return [name for name in names if _passes(name, filter_name)]

    def _read(self, names: Sequence[str], entry_start: int | None, entry_stop: int | None) -> dict[str, ak.Array]:
        begin, end, _ = slice(entry_start, entry_stop).indices(self.num_entries)
        parts = [
            {name: array[max(begin, p.begin) - p.begin : max(begin, end) - p.begin] for name, array in found.items()}
            for p in self._overlapping(begin, end)
            for found in [self._restored(p, names)]
        ]
        return (
            parts[0] if len(parts) == 1 else {name: one_after_another([part[name] for part in parts]) for name in names}
        )

    def _overlapping(self, begin: int, end: int) -> Iterator[Place]:
        """The chunks with any of these entries; without any, the first chunk, for the types of empty arrays."""
        found = [place for place in self._places if place.begin < end and begin < place.end]
        yield from found or self._places[:1]

    def _restored(self, place: Place, names: Sequence[str]) -> dict[str, ak.Array]:
        """Branches of a chunk, decoded unless they are kept; raises UserError if the tree is closed."""
        self._check_open()
        if (now := self._kept)[0] is not place:
            now = self._kept = place, {}, {}  # before the next chunk is read, so that memory holds one
        _, kept, written = now  # which stay those of this chunk, whatever another thread reads
        counters = {} if self._jets.issuperset(names) else self._counters
        branches = dict.fromkeys(counters.get(name, name) for name in names)
        missing = [name for name in branches if name not in kept]
        if missing:
            kept |= self._decoded(place, missing, written)
        return {name: _counted(kept[counters[name]]) if name in counters else kept[name] for name in names}

    def _decoded(self, place: Place, names: list[str], written: dict[str, ak.Array]) -> dict[str, ak.Array]:
        """Branches of a chunk; of packed jets with their other variables, as they are decoded together.

        Latents are added to `written`: other variables of their jets may be asked for next, and to unpack them takes
        longest.
        """
        groups = [c.own for c in self._collections.values() if c.packed and c.holds_jets]
        of_jets = self._jets.issuperset(names)
        single = set(names) if of_jets else {self._run.aliases.get(name, name) for name in names}
        together = [name for group in groups if not single.isdisjoint(group) for name in group]
        names = list(dict.fromkeys([*names, *together]))
        found = place.part.read(place.number, names, written, of_jets)
        latents = {name for c in self._collections.values() if not c.packed for name in c.latents}
        written |= {name: array for name, array in found.events.items() if name in latents}
        return found.restored(names)

    def _entries_in(self, step_size: int | str, names: Sequence[str]) -> int:
        if isinstance(step_size, int):
            if step_size < 1:
                raise UserError(f"step_size={step_size}: give a number of entries, or a size such as '20 MB'")
            return step_size
        wanted, first = parse_size(step_size, "step_size"), self._places[0]
        size = sum(array.nbytes for array in self._restored(first, names).values()) / max(1, first.end - first.begin)
        return max(1, int(wanted / max(1.0, size)))


@dataclass(frozen=True)
class CompressedBranch:
    """One branch of a compressed tree."""

    tree: CompressedTree
    name: str

    @property
    def num_entries(self) -> int:
        """The number of entries of the tree."""
        return self.tree.num_entries

    def array(self, *, entry_start: int | None = None, entry_stop: int | None = None, library: str = "ak") -> Any:
        """Its values for entries [entry_start, entry_stop); with "np", lists are in an object array."""
        found = self.tree.arrays([self.name], entry_start=entry_start, entry_stop=entry_stop, library=library)
        return found[self.name]

    def __getitem__(self, entries: int | slice) -> Any:
        """Its values for an entry, or for a slice of entries: `tree["Jet_pt"][:100]`."""
        if isinstance(entries, slice):
            begin, end, step = entries.indices(self.num_entries)
            first, last = (begin, end) if step > 0 else (end + 1, begin + 1)
            found = self.array(entry_start=first, entry_stop=max(first, last))
            return found[::step] if step > 0 else found[::-1][::-step]
        if not -self.num_entries <= entries < self.num_entries:
            raise IndexError(f"entry {entries} of '{self.name}', which has {self.num_entries}")
        first = entries % self.num_entries
        return self.array(entry_start=first, entry_stop=first + 1)[0]


class _Named(ast.NodeTransformer):
    """Puts a variable in the place of every name of a branch, whose parts dots may separate."""

    def __init__(self) -> None:
        self.branches = dict[str, str]()

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return self._variable(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.Name:
        return self._variable(node)

    def _variable(self, node: ast.expr) -> ast.Name:
        name = self.branches.setdefault(ast.unparse(node), f"branch_{len(self.branches)}")
        return ast.Name(name, ast.Load())


def _typename(dtype: str) -> str:
    """The C++ type of a branch, as uproot names it, from one of `CompressedTree.dtypes` or a `Branch.dtype`."""
    if dtype == "string":
        return "std::string"
    number, bracket, _ = dtype.lstrip("<>|").removesuffix(" array").partition("[")
    return f"{_TYPES.get(number, number)}{'[...]' if dtype.endswith(' array') else '[]' * bool(bracket)}"


def _places(parts: Sequence[OpenedPart]) -> Iterator[Place]:
    begin = 0
    for part in parts:
        for number, (run, _, chunk) in enumerate(part.jets):
            yield Place(part, number, run, chunk, begin, begin + chunk.entries)
            begin += chunk.entries


def _counted(array: ak.Array) -> ak.Array:
    return ak.Array(numbers_in(array).astype(np.int32))


def _passes(name: str, wanted: Filter) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, str):
        if match := re.fullmatch(r"/(.*)/(i?)", wanted):
            return re.match(match[1], name, re.IGNORECASE if match[2] else 0) is not None
        return fnmatch.fnmatchcase(name, wanted)
    return wanted(name) if callable(wanted) else any(_passes(name, one) for one in wanted)


def _in_library(events: Mapping[str, ak.Array], library: str, entries: range | npt.NDArray[np.int64]) -> Any:
    """Branches of these entries as records, a dict of arrays or a DataFrame."""
    if library not in _LIBRARIES:
        raise UserError(f"library='{library}' is not known: give one of {', '.join(_LIBRARIES)}")
    if library == "ak":
        return ak.Array(
            ak.contents.RecordArray(
                [array.layout for array in events.values()], list(events), length=None if events else 0
            )
        )
    columns = {name: _to_numpy(array) for name, array in events.items()}
    return columns if library == "np" else to_frame(columns, entries)


def _to_numpy(array: ak.Array) -> Array:
    """A numpy array; as in uproot, lists and strings are the elements of an object array."""
    layout = array.layout
    if layout.parameter("__array__") == "string":
        return np.array(array.to_list(), object)
    if is_nested(array):
        return np.fromiter(array.to_list(), np.dtype(object), count=len(array))
    if not layout.is_list or layout.is_regular:
        return np.asarray(ak.to_numpy(array))
    values, counts = flatten(array)
    parts = np.split(values, np.cumsum(counts)[:-1])
    return np.fromiter(parts, np.dtype(object), count=len(counts))
