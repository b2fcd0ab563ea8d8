"""Compares a compressed file with its original (jets within bounds, all else bit for bit), or checks it alone."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any

import awkward as ak
import numpy as np

from atlasae.compression.chunks import Chunks, Progress, Salvage, changed_branches, in_turn, restored_events, silent
from atlasae.compression.collection import Restored
from atlasae.compression.format import Chunk, CompressedCollection, Contents, Run, read_contents
from atlasae.compression.grafting import compare_grafted, damage_of, is_grafted, taken_apart
from atlasae.compression.others import compare_others, copy_back
from atlasae.compression.pieces import check_parts, entries_of
from atlasae.compression.plan import Options
from atlasae.compression.results import IntegrityReport, VerificationReport
from atlasae.errors import DamagedFileError, UserError, sparing
from atlasae.files.branches import Branch
from atlasae.files.checksums import checksum
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import Array, miscounted
from atlasae.files.remote import Location, Named, located, watching
from atlasae.files.tables import is_table
from atlasae.files.trees import Source, Tree, open_source
from atlasae.jets.columns import same_bits, to_columns
from atlasae.jets.inputs import Opened, open_input
from atlasae.jets.stored import Storage, blocks, largest_of, rounded_up_to, storage_of
from atlasae.report import bound_text, counted, line_of, loosest, merge_largest, short
from atlasae.threads import beside, side_by_side

Differences = Callable[[Source], Iterable[str]]  # what differs in a file that was written
BranchNames = Mapping[str, Sequence[str]]  # of branches, by tree
EXACT, WITHIN, DIFFERENT = "bit for bit", "within precision", "different"


def check_file(compressed: Named, progress: Progress | None = None) -> IntegrityReport:
    """Check a compressed file by itself: every checksum, the models, and that all of it decodes.

    Returns a report of what was checked; raises DamagedFileError with the first damage and the number of others.

    >>> atlasae.check_file("small.root")["entries"]
    200
    """
    compressed = located(compressed)
    with watching(compressed) as check_unchanged, open_source(compressed) as source:
        contents, lost = read_contents(source), Salvage()
        found = contents.of_trees()
        entries = [one.entries for one in found.values()]
        with _others_first(source, contents):
            for one, advance in zip(found.values(), in_turn(progress or silent, entries), strict=True):
                check_parts(f"'{compressed}'", one.runs)
                for _ in restored_events(source, one, advance, lost):
                    pass
        with sparing(lost.damage):
            check_others(source, contents, lost.damage)
        check_unchanged()
    if lost.damage:
        more = f"; and {len(lost.damage) - 1} more: decompress --salvage" if len(lost.damage) > 1 else ""
        raise DamagedFileError(lost.damage[0] + more)
    return IntegrityReport(
        bytes=compressed.stat().st_size,
        entries=contents.entries,
        jets=sum(chunk.jets for chunk in contents.chunks),
        chunks=len(contents.chunks),
        branches=[contents.shown(tree, name) for tree, one in found.items() for name in one.runs[0].written],
        trees=sorted({name for run in contents.runs for name in run.other_trees}),
        objects=sorted({name for run in contents.runs for name in run.other_objects}),
        models=sorted(contents.models),
        dropped=contents.dropped,
        left_out=contents.left_out,
    )


@contextmanager
def _others_first(source: Source, contents: Contents) -> Iterator[None]:
    """Raise DamagedFileError for a model that is missing, not UserError, where all but the jets is damaged, too."""
    try:
        yield
    except UserError:
        check_others(source, contents)
        raise


def check_others(source: Source, contents: Contents, lost: list[str] | None = None) -> None:
    """Check all but the jets; raises DamagedFileError, or with `lost` records the damage."""
    if not is_grafted(contents):
        copy_back(source, contents, None, Options.step_size, lost)
        return
    for message, _ in damage_of(taken_apart(source, contents)):
        with sparing(lost):
            raise DamagedFileError(message)


def verify_file(original: Named, compressed: Named, progress: Progress | None = None) -> VerificationReport:
    """Compare a compressed file with its original: jets within their precision, all else bit for bit.

    In the report, `differences` lists what breaks the promise, `branches` says how each branch was kept, `max_error`
    is the largest error of each variable of each collection. What compression recorded as left out, in `dropped`
    (branches of the tree) and `left_out`, is no difference; anything else that is missing is one. Raises
    DamagedFileError if a checksum differs.

    >>> atlasae.verify_file("in.root", "small.root")["differences"]
    []
    """
    return compare_files(located(original), located(compressed), progress)


def compare_files(
    original: Location, compressed: Location, progress: Progress | None = None, restored: bool = False
) -> VerificationReport:
    """The facts of `verify_file`'s report; `restored`: the original is a decompressed file, perhaps of a part."""
    with watching(original, compressed) as check_unchanged, open_source(compressed) as source:
        contents = read_contents(source)
        for one in contents.of_trees().values():
            check_parts(f"'{compressed}'", one.runs)
        with open_input(original, None if is_table(original) else contents.tree, ()) as opened:
            report = _compare(opened, source, contents, progress or silent, restored)
        if not is_grafted(contents):  # else they were compared with the original
            copy_back(source, contents, None, Options.step_size)
        check_unchanged()
    return report


@dataclass(frozen=True)
class Output:
    """What was written: the contents of its folder, the input opened at each tree of jets, and notes for the user.

    `types` are the awkward types of the branches of each of these trees. `differences` finds what differs in all but
    the jets, where there is a shorter way than by all checksums. `details` tells of each collection what the notes sum
    up. `restored` tells of each tree and collection what every chunk must restore: jets that were compared before.
    `names` are those of all branches of trees that were copied.
    """

    contents: Contents
    opened: Mapping[str, Opened]
    notes: list[str]
    types: Mapping[str, Mapping[str, ak.types.Type]]
    differences: Differences | None = None
    details: Sequence[str] = ()
    restored: Mapping[str, Mapping[str, Sequence[Restored]]] = field(default_factory=dict)
    names: BranchNames | None = None


def read_back(source: Source, written: Output, progress: Progress) -> None:
    """Compare a file that `compress` just wrote with its input.

    Checks every checksum, the awkward type of every branch, and that jets are within their bounds. Raises UserError
    with the name of a branch that fails, and the option that leaves it out.
    """
    try:
        contents = read_contents(source)
        with beside(partial(_check_copy, source, written.differences)):
            _read_chunks_back(source, contents, written, progress)
        if written.differences is None:
            check_others(source, contents)
    except DamagedFileError as error:
        raise UserError(f"what was written does not read back: {error}; --only-jets leaves all but jets out") from error


def _check_copy(source: Source, differences: Differences | None) -> None:
    with damage(f"'{source.path}'", *FACTS):
        for message in differences(source) if differences else ():
            raise DamagedFileError(message)


def _read_chunks_back(source: Source, contents: Contents, written: Output, progress: Progress) -> None:
    entries = [one.entries for one in contents.of_trees().values()]
    for (tree, one), advance in zip(contents.of_trees().items(), in_turn(progress, entries), strict=True):
        work = partial(_read_chunk_back, Chunks(source, one), written, tree)
        with side_by_side(work, enumerate(one.chunks_by_run())) as ends:
            for end in ends:
                advance(end, one.entries)


def _read_chunk_back(chunks: Chunks, output: Output, tree: str, place: tuple[int, tuple[Run, int, Chunk]]) -> int:
    """Compare a chunk with what was written; its jets with the original, unless they are those that were already.

    Returns its last entry (excluded).
    """
    number, (run, start, chunk) = place
    stop, types = start + chunk.entries, output.types[tree]
    try:
        written = chunks.read(run, start, chunk)
        restored = written.restored()
    except DamagedFileError as error:
        for name, why in _lost(chunks.tree, run, start, chunk):
            raise UserError(_not_back(run, name, why)) from error
        raise
    for name, array in written.events.items():
        if chunk.entries and array.type.content != types[name]:
            raise UserError(_not_back(run, name, f"{types[name]} was written, {array.type.content} is read"))
    for entry in run.collections:
        names = list(entry.collection.branches.values())
        told = output.restored.get(tree, {}).get(entry.collection.name)
        if told and told[number].keeps(entry.precision, *to_columns(entry.collection, restored)):
            continue
        original = output.opened[tree].events.read(names, start, stop)
        if problems := _compare_jets(entry, original, restored)[1]:
            raise UserError(_not_back(run, names[0], f"{problems[0]} in entries {start} to {stop}"))
    return stop


def _lost(tree: Tree, run: Run, start: int, chunk: Chunk) -> Iterator[tuple[str, str]]:
    """The branches of a chunk that do not read back as they were written, each with the reason."""
    for name in run.written:
        try:
            events = tree.read([name], start, start + chunk.entries)
        except DamagedFileError as error:
            yield name, line_of(error.__cause__ or error)
        else:
            yield from changed_branches(run, chunk, events).items()


def _not_back(run: Run, name: str, why: str) -> str:
    """The message for a branch that does not read back, with the option that leaves it out."""
    carried = name in {branch.name for branch in run.carried}
    out = f"leave it out with --drop {shlex.quote(name)}" if carried else "choose other jets with --jets"
    return f"branch '{name}' does not read back as it was: {short(why, 150)}; {out}"


@dataclass
class Comparison:
    """The results of a comparison so far: how each branch was kept, largest errors, differences, and the entries."""

    branches: dict[str, str]
    largest: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    entries: int = 0

    def add(self, run: Run, original: dict[str, ak.Array], restored: dict[str, ak.Array], where: str) -> None:
        """Compare a chunk; `original` has only the branches that the original file has."""
        jets = {name for entry in run.collections for name in entry.collection.branches.values()}
        for name, array in original.items():
            if name not in jets and checksum(array) != checksum(restored[name]):
                self.differences.append(f"branch '{name}' differs in {where}")
                self.branches[name] = DIFFERENT
        for entry in run.collections:
            if set(entry.collection.branches.values()) <= set(original):
                self._add_jets(entry, original, restored, where)

    def _add_jets(
        self, entry: CompressedCollection, original: dict[str, ak.Array], restored: dict[str, ak.Array], where: str
    ) -> None:
        name = entry.collection.name
        largest, worse = _compare_jets(entry, original, restored)
        self.largest[name] = merge_largest([self.largest.get(name, {}), largest])
        self.differences += [f"{name}: {problem} in {where}" for problem in worse]
        for variable, branch in entry.collection.branches.items():
            if self.branches[branch] != DIFFERENT:
                kept = EXACT if entry.collection.beside and not entry.precision[variable] else WITHIN
                self.branches[branch] = DIFFERENT if worse else kept


def _compare(
    opened: Opened, source: Source, contents: Contents, progress: Progress, restored: bool
) -> VerificationReport:
    trees = contents.of_trees()
    rest = [partial(_compare_rest, opened, source, contents)]
    with side_by_side(lambda compare: compare(), rest, is_grafted(contents)) as compared:
        found, differences = _compare_trees(opened, source, contents, progress, restored)
        ((others, same),) = compared
    differences += others
    for tree, names in same.items():
        found[tree].branches |= {name: EXACT if kept else DIFFERENT for name, kept in names.items()}
    collections = {
        contents.shown(tree, entry.collection.name): one.over_runs(entry.collection.name)
        for tree, one in trees.items()
        for entry in one.runs[-1].collections
    }
    branches = {
        contents.shown(tree, name): comparison.branches[trees[tree].runs[0].aliases.get(name, name)]
        for tree, comparison in found.items()
        for name in comparison.branches
    }
    precision = {name: loosest([entry.precision for entry in entries]) for name, entries in collections.items()}
    largest = {contents.shown(tree, name): e for tree, one in found.items() for name, e in one.largest.items()}
    return VerificationReport(
        entries=sum(comparison.entries for comparison in found.values()),
        jets=sum(chunk.jets for chunk in contents.chunks),
        bytes_file_in=contents.source_bytes,
        bytes_file_out=source.path.stat().st_size,
        collections={name: sum(entry.jets for entry in entries) for name, entries in collections.items()},
        max_error={name: rounded_up_to(errors, precision[name]) for name, errors in largest.items()},
        precision=precision,
        floors={name: storage_of(entries[-1].collection).floors for name, entries in collections.items()},
        units={name: entries[-1].collection.units for name, entries in collections.items()},
        branches=branches,
        dropped=contents.dropped,
        left_out=contents.left_out,
        differences=differences,
        resolutions={
            name: texts for name, entries in collections.items() if (texts := entries[-1].collection.resolution_texts)
        }
        or None,
    )


def _compare_trees(
    opened: Opened, source: Source, contents: Contents, progress: Progress, restored: bool
) -> tuple[dict[str, Comparison], list[str]]:
    """The comparisons of trees of jets, and the differences in all of them."""
    trees, found, differences = contents.of_trees(), dict[str, Comparison](), list[str]()
    for (tree, one), advance in zip(
        trees.items(), in_turn(progress, [one.entries for one in trees.values()]), strict=True
    ):
        if opened.source and tree not in opened.source.trees:
            differences.append(f"tree '{tree}' is not in the original")
            found[tree] = Comparison(dict.fromkeys(one.runs[0].originals, DIFFERENT))
            continue
        found[tree] = _compare_tree(opened.at(tree, one.runs[0].ntuple), source, one, advance, restored)
        differences += [f"tree '{tree}': {line}" if len(trees) > 1 else line for line in found[tree].differences]
    return found, differences


def _compare_tree(opened: Opened, source: Source, contents: Contents, progress: Progress, restored: bool) -> Comparison:
    """Compare a tree of jets with the original, which is opened at it; not what was copied byte for byte."""
    run = contents.runs[0]
    opened = opened.within(None if restored else entries_of(contents.runs))
    known = {branch.name: branch for branch in (*opened.events.branches, *opened.events.members)}
    if is_grafted(contents):
        known = {name: branch for name, branch in known.items() if name in run.originals}
    names = set(known) | _same_names(run, opened)
    found = Comparison({name: EXACT if name in names else DIFFERENT for name in run.originals})
    found.differences += _compare_branches(run, known, names, opened)
    start = 0
    for run, events in restored_events(source, contents, progress):
        stop = start + len(next(iter(events.values())))
        there = [name for name in run.originals if name in known]
        counted = {n: c for n in there if (c := run.counters.get(n)) in known and c not in run.originals}
        counters = list(dict.fromkeys(counted.values()))
        original = opened.events.read([*there, *counters], start, min(stop, opened.events.entries))
        values = {name: original.pop(name) for name in counters}
        wrong = dict.fromkeys(counted[name] for name in miscounted(events | values, counted))
        found.add(run, original, events, f"entries {start} to {stop}")
        found.differences += [f"counter '{name}' differs in entries {start} to {stop}" for name in wrong]
        start = stop
    if start != opened.events.entries:
        found.differences.append(
            f"{start} entries were compressed, the original has {opened.events.entries}"
            + " there" * bool(entries_of(contents.runs))
        )
    found.entries = start
    return found


def _compare_rest(
    opened: Opened, source: Source, contents: Contents
) -> tuple[list[str], Mapping[str, Mapping[str, bool]]]:
    """The differences in all but the jets, and of grafted trees, whether each of their branches is the same."""
    differences, same = list[str](), dict[str, dict[str, bool]]()
    if is_grafted(contents):
        differences, same = compare_grafted(opened, taken_apart(source, contents))
    elif opened.source:
        differences = compare_others(opened.source, contents)
    return differences + _compare_labels(contents.runs[0].table or {}, opened.table), same


def _compare_labels(told: Mapping[str, Any], original: Mapping[str, Any] | None) -> list[str]:
    """The differences in what a table has besides its values: row labels, names, byte order."""
    if original is None:
        return []
    return [
        f"the table's {key} is {told[key]!r} here, {original.get(key)!r} in the original"
        for key in told
        if str(told[key]) != str(original.get(key))
    ]


def _same_names(run: Run, original: Opened) -> set[str]:
    """The aliases of a run that are aliases of the same branch in the original too."""
    others = original.tree_read.aliases if original.tree_read else {}
    return {name for name, stays in run.aliases.items() if others.get(name) == stays}


def _compare_branches(run: Run, known: Mapping[str, Branch], names: set[str], opened: Opened) -> list[str]:
    """Messages for branches that only one of the files has, and for jets of another type."""
    implied = set(run.counters.values())
    differences = [f"branch '{name}' is not in the original" for name in run.originals if name not in names]
    dropped, tree = set(run.dropped), opened.tree_read
    new = {name for name in known if name not in dropped and (tree.holder(name) if tree else name) not in dropped}
    new -= {*run.originals, *implied}
    differences += [f"branch '{name}' of the original is not in the compressed file" for name in sorted(new)]
    for entry in run.collections:
        for variable, name in entry.collection.branches.items():
            dtype = entry.collection.dtypes[variable] + " array" * entry.collection.array
            if name in known and known[name].dtype != dtype and not _is_narrower(opened, name, dtype):
                differences.append(f"branch '{name}' is of type {known[name].dtype} in the original, {dtype} before")
    return differences


def _is_narrower(opened: Opened, name: str, dtype: str) -> bool:
    """Whether a branch of the original has doubles that are floats in the file (Double32_t), as before."""
    return dtype.startswith("<f4") and opened.tree_read is not None and opened.tree_read.is_narrower(name)


def _compare_jets(
    entry: CompressedCollection, original: dict[str, ak.Array], restored: dict[str, ak.Array]
) -> tuple[dict[str, float], list[str]]:
    """The largest errors of the jets of a chunk, and what is wrong with them; in blocks, as memory is short."""
    before, counts = to_columns(entry.collection, original)
    after, counts_after = to_columns(entry.collection, restored)
    if not np.array_equal(counts, counts_after):
        return {}, ["jets per event differ"]
    storage, largest, beyond = storage_of(entry.collection), list[dict[str, float]](), Counter[str]()
    parts = blocks(len(before[0]))
    with side_by_side(partial(_compare_rows, entry, storage, before, after), parts, len(parts) > 1) as compared:
        for found, wrong in compared:
            largest.append(found)
            beyond.update(wrong)
    problems = []
    for variable, bound in entry.precision.items():
        if bound is not None and beyond[variable]:
            text = bound_text(bound, variable in storage.layout.resolutions)
            problems.append(f"{counted(beyond[variable], 'jets')} beyond {text} in {variable}")
    return merge_largest(largest), problems


def _compare_rows(
    entry: CompressedCollection, storage: Storage, before: Sequence[Array], after: Sequence[Array], rows: slice
) -> tuple[dict[str, float], dict[str, int]]:
    """The largest error of each variable in some rows, and how many are beyond its bound."""
    before, after = [column[rows] for column in before], [column[rows] for column in after]
    own = [variable not in entry.collection.shared for variable in entry.collection.variables]
    whole = same_bits(list(compress(before, own)), list(compress(after, own)))
    alone = entry.collection.terms is not None  # each variable is an error of its own, whatever the others are
    pairs = zip(entry.collection.variables, before, after, strict=True)
    same = {variable: same_bits([x], [y]) if alone else whole for variable, x, y in pairs}
    with np.errstate(all="ignore"):
        everything = storage.errors(storage.to_values(before), storage.to_values(after))
    same = {variable: same.get(variable, whole) for variable in everything}
    largest = {v: e for v in entry.precision for e in largest_of(everything, same.get(v, whole), [v]).values()}
    beyond = {}
    for variable, bound in entry.precision.items():
        if bound is not None:
            promised = bound > 0 or not entry.collection.beside  # other numbers without a bound are exact
            within = everything[variable] <= bound if promised else np.zeros(len(whole), bool)
            beyond[variable] = int((~within & ~same[variable]).sum())
    return largest, beyond
