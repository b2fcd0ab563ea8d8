"""Reports of the commands on compressed files, and their pages."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from atlasae.pages import brief_note_lines, left_out_lines, note_lines, size_text
from atlasae.report import Facts, LeftOut, Page, PageTable, Report, bound_text, counted, loosest, some

Bounds = Mapping[str, float | None]  # by variable; None is no promise
Terms = Mapping[str, str] | None  # N:S:C by variable, where bounds are in units of the resolution


class CollectionReport(Facts):
    """A compressed collection: `bytes_in` and `bytes_out` are compressed bytes in baskets.

    `branches`, `precision` (the bounds), `floors`, `max_error`, `bits` and `resolutions` are by variable.
    """

    name: str
    branches: Mapping[str, str]
    units: str | None
    jets: int
    exact_jets: int
    precision: Bounds
    floors: Mapping[str, float]
    max_error: Mapping[str, float]
    bits: Mapping[str, float]
    exponent: float | None
    bytes_in: int
    bytes_out: int
    bytes_per_jet: float | None
    resolutions: Terms = None


class TreeReport(Facts):
    """A tree whose jets are compressed: `bytes_in` and `bytes_out` are those of its jets, compressed, in baskets."""

    name: str
    entries: int
    jets: int
    bytes_in: int
    bytes_out: int


class CompressionReport(Report):
    """The result of `compress` for all jets and the whole file; `bytes_jets_*` are compressed bytes in baskets.

    `precision`, `floors` and `bits` are by collection and variable, `max_error` by variable. `carried` and `dropped`
    name branches of the trees with jets, `left_out` lists other objects of the file. Where jets of several `trees` are
    compressed, `tree` is the first, collections and branches are named with their trees (`nominal/Jet`), and numbers
    are sums. `details` tells of each collection what `notes` sum up.
    """

    entries: int
    jets: int
    tree: str
    trees: list[TreeReport]
    collections: list[CollectionReport]
    precision: Mapping[str, Bounds]
    floors: Mapping[str, Mapping[str, float]]
    bits: Mapping[str, Mapping[str, float]]
    bytes_jets_in: int
    bytes_jets_out: int
    bytes_per_jet: float | None
    exact_jets: int
    max_error: Mapping[str, float]
    model_sha256: str
    carried: list[str]
    dropped: list[str]
    left_out: list[LeftOut]
    bytes_file_in: int
    bytes_file_out: int
    notes: list[str]
    details: list[str] | None = None
    output: str
    seconds: float

    @property
    def verbose_page(self) -> Page:
        """The report with all notes, and what they say of each collection."""
        return [*self._tables(), *note_lines(self.notes), *(f"  {line}" for line in self.details or ())]

    def _page(self) -> Page:
        return [*self._tables(), *brief_note_lines(self.notes)]

    def _tables(self) -> Page:
        return [
            f"{self.output}: {counted(self.jets, 'jets')} in {counted(self.entries, 'entries')} of "
            f"{_of_trees(self.trees)}",
            "",
            *_trees(self.trees),
            *_collections(self.collections),
            "",
            *_jet_sizes(self.jets, self.bytes_jets_in, self.bytes_jets_out),
            file_sizes(self.bytes_file_in, self.bytes_file_out),
            f"carried: {counted(len(self.carried), 'branches')}; {self.seconds:.1f} s",
            *_dropped(self.dropped),
        ]


def _named(trees: Sequence[str]) -> str:
    return some(f"'{name}'" for name in trees)


def _of_trees(trees: Sequence[TreeReport]) -> str:
    return f"'{trees[0].name}'" if len(trees) == 1 else f"{len(trees)} trees"


def _trees(trees: Sequence[TreeReport]) -> list[str | PageTable]:
    """A table of trees, if there are several."""
    rows = [
        [tree.name, f"{tree.entries:,}", f"{tree.jets:,}", size_text(tree.bytes_in), size_text(tree.bytes_out)]
        for tree in trees
    ]
    return [PageTable(["tree", "entries", "jets", "jets before", "jets after"], rows), ""] if len(rows) > 1 else []


COPIED, ANEW = "copied byte for byte", "written anew, bit for bit"


class PlanReport(Report):
    """What `compress` would do with each branch of the trees with jets, and with other trees and objects.

    `collections` are their units, by name. Names and sums of several trees are as in a `CompressionReport`.
    """

    tree: str
    trees: list[str]
    entries: int
    branches: Mapping[str, str]
    collections: Mapping[str, str | None]
    others: Mapping[str, str]
    notes: list[str]

    def _page(self) -> Page:
        found = ", ".join(f"{name} ({units})" if units else name for name, units in self.collections.items())
        pages: list[str | PageTable] = [f"{_named(self.trees)}, {counted(self.entries, 'entries')}: {found}", ""]
        pages.append(PageTable(["branch", "becomes"], list(self.branches.items()), words=(0, 1)))
        if self.others:
            pages += ["", PageTable(["beside", "becomes"], list(self.others.items()), words=(0, 1))]
        return [*pages, *note_lines(self.notes)]


def _jet_sizes(jets: int, before: int, after: int) -> list[str]:
    """A line on the compressed bytes of jets before and after, if there are any."""
    return [f"jets: {size_text(before)} -> {size_text(after)}, {after / jets:.2f} bytes per jet"] if jets else []


def _without_empty(table: PageTable) -> PageTable:
    """A table without its last column, if no row has anything there."""
    if any(row[-1] for row in table.rows):
        return table
    return PageTable(table.headings[:-1], [row[:-1] for row in table.rows], table.words)


def file_sizes(before: int, after: int) -> str:
    """A line on the bytes of the whole file before and after."""
    return f"whole file: {size_text(before)} -> {size_text(after)}"


def _collections(
    entries: Sequence[CollectionReport], columns: Sequence[Sequence["StoredColumn"]] = ()
) -> list[str | PageTable]:
    """Tables of collections, of their variables with bounds, largest errors and bits, and of their columns."""
    described = {column.branch for listed in columns for column in listed}
    wholes = [[e.name, e.units or "", f"{e.jets:,}", f"{e.exact_jets:,}", *_sizes(e)] for e in entries]
    by_branch: dict[tuple[str, str], list[CollectionReport]] = {}
    for entry in entries:
        for variable, branch in _variables(entry).items():
            by_branch.setdefault((branch, variable), []).append(entry)
    variables = [
        [branch, *_promise(variable, *_of_all(variable, found)), f"{bits:.1f}" if bits is not None else ""]
        for (branch, variable), found in by_branch.items()
        if branch not in described
        for bits in [max((e.bits[variable] for e in found if variable in e.bits), default=None)]
    ]
    others = [
        [column.branch, column.kind, column.precision, ", ".join(column.told_by), f"{column.bits:.2f}"]
        for listed in columns
        for column in listed
    ]
    told = ["", PageTable(["branch", "kind", "precision", "told by", "bits"], others, words=(0, 1, 2, 3))]
    return [
        PageTable(["collection", "unit", "jets", "exact", "bytes per jet", "before"], wholes, words=(0, 1)),
        "",
        _without_empty(PageTable(["branch", "bound", "largest error", "bits"], variables)),
        *(told if others else ()),
        *floor_lines((e.name, e.units, _met(e.floors, e.resolutions), e.precision) for e in entries),
        *_resolutions({e.name: e.resolutions for e in entries}),
    ]


def _of_all(variable: str, entries: Sequence[CollectionReport]) -> tuple[Bounds, Mapping[str, float], int, Terms]:
    """The loosest bound of a branch that several trees have, its largest error, and the number of jets."""
    bounded = [{variable: e.precision[variable]} for e in entries if variable in e.precision]
    largest = max((e.max_error[variable] for e in entries if variable in e.max_error), default=0.0)
    resolutions = next((e.resolutions for e in entries if e.resolutions), None)
    return loosest(bounded) if bounded else {}, {variable: largest}, sum(e.jets for e in entries), resolutions


def _met(floors: Mapping[str, float], resolutions: Terms) -> dict[str, float]:
    """The floors of variables whose errors are not in units of the resolution."""
    return {variable: floor for variable, floor in floors.items() if variable not in (resolutions or {})}


def floor_lines(entries: Iterable[tuple[str, str | None, Mapping[str, float], Bounds]]) -> list[str]:
    """Lines on variables whose errors are relative to a floor where they are smaller, with their collections."""
    named: dict[tuple[str, str], list[str]] = {}
    for name, units, floors, precision in entries:
        for variable, floor in floors.items():
            if precision.get(variable) is not None:
                named.setdefault((variable, f"{floor:g} {units or ''}".rstrip()), []).append(name)
    return [
        f"errors of {variable} are relative to {variable}, or to {floor} where {variable} is smaller ({some(names, 6)})"
        for (variable, floor), names in named.items()
    ]


def _resolutions(found: Mapping[str, Terms]) -> list[str]:
    """Lines on variables whose bounds and errors are in units of the detector's resolution, with their collections."""
    named: dict[str, list[str]] = {}
    for name, resolutions in found.items():
        if resolutions:
            terms = ", ".join(f"{variable} {terms}" for variable, terms in resolutions.items())
            named.setdefault(terms, []).append(name)
    return [
        f"errors are in units of the resolution, sqrt(N^2/pt^2 + S^2/pt + C^2) with N:S:C (pt in GeV): {terms}"
        f" ({some(names, 6)})"
        for terms, names in named.items()
    ]


def _sizes(entry: CollectionReport) -> tuple[str, str]:
    if not entry.jets:
        return "-", "-"
    return f"{entry.bytes_per_jet:.2f}", f"{entry.bytes_in / entry.jets:.2f}"


def _variables(entry: CollectionReport) -> dict[str, str]:
    """Branches by variable, and variables with a bound but no branch: m, if E and p are stored."""
    return {**entry.branches, **{v: f"{entry.name}: {v}" for v in entry.precision if v not in entry.branches}}


def _promise(
    variable: str, precision: Bounds, largest: Mapping[str, float], jets: int, resolutions: Terms = None
) -> list[str]:
    """The bound of a variable and its largest error; empty for a variable without a promise."""
    if variable not in precision:
        return ["", ""]
    bound = precision[variable]
    text = "none" if bound is None else bound_text(bound, variable in (resolutions or {}))
    return [text, f"{largest.get(variable, 0.0):.2g}" if jets else "-"]


def _dropped(names: Sequence[str]) -> list[str]:
    """A line on dropped branches, if there are any."""
    return [f"dropped: {counted(len(names), 'branches')}: {some(names, 6)}"] if names else []


class DecompressionReport(Report):
    """The result of `decompress`; `missing` are the ranges of entries that salvage could not restore.

    Of several `trees`, `tree` is the first, numbers are sums, and `damage` tells of which tree entries are missing.
    """

    entries: int
    jets: int
    tree: str
    trees: list[str]
    missing: list[tuple[int, int]]
    damage: list[str]
    bytes_file_in: int
    bytes_file_out: int
    notes: list[str]
    output: str
    seconds: float

    def _page(self) -> Page:
        return [
            f"{self.output}: {counted(self.jets, 'jets')} in {counted(self.entries, 'entries')} of "
            f"{_named(self.trees)}; {size_text(self.bytes_file_in)} -> {size_text(self.bytes_file_out)}; "
            f"{self.seconds:.1f} s",
            *(f"  entries {start} to {stop} are missing" for start, stop in self.missing),
            *(f"  {problem}" for problem in self.damage),
            *note_lines(self.notes),
        ]


class StoredColumn(Facts):
    """A branch of other numbers of jets: its kind, its precision, its bits in the sample, and what it is told by."""

    branch: str
    kind: str
    precision: str
    bits: float
    told_by: list[str]


class StoredCollection(Facts):
    """A collection over all runs of a merged file; `bytes_in` and `bytes` are compressed bytes in baskets.

    `precision` has the loosest bounds of the runs, `max_error` their largest errors. `columns` describes other numbers
    of jets, as the first run has them; four-momenta have none.
    """

    name: str
    branches: Mapping[str, str]
    units: str | None
    floors: Mapping[str, float]
    precision: Bounds
    max_error: Mapping[str, float]
    jets: int
    exact_jets: int
    bytes_in: int
    bytes: int
    bytes_per_jet: float | None
    resolutions: Terms = None
    columns: list[StoredColumn] | None = None


class RunCollection(Facts):
    """A collection in one run: bounds, bits and largest errors by variable."""

    name: str
    precision: Bounds
    bits: Mapping[str, float]
    max_error: Mapping[str, float]
    resolutions: Terms = None


class RunReport(Facts):
    """The compression of a tree: its source, model and versions."""

    source: str
    source_bytes: int
    tree: str
    entries: int
    chunks: int
    collections: list[RunCollection]
    model_sha256: str
    model_from: str
    versions: Mapping[str, str]


class InfoReport(Report):
    """The contents of a compressed file: a run for each tree of jets, several in a merged file.

    Names and sums of several trees are as in a `CompressionReport`; `bytes_file_in` is the sum of all inputs.
    """

    file: str
    bytes: int
    bytes_file_in: int
    bytes_jets_in: int
    bytes_jets_out: int
    bytes_per_jet: float | None
    tree: str
    trees: list[TreeReport]
    entries: int
    jets: int
    collections: list[StoredCollection]
    carried: int
    dropped: list[str]
    left_out: list[LeftOut]
    runs: list[RunReport]

    def _page(self) -> Page:
        several = len(self.trees) > 1
        made = PageTable(
            [*["tree"] * several, "compressed from", "size", "entries", "chunks", "bound", "model", "atlasae"],
            [
                [
                    *[run.tree] * several, run.source, size_text(run.source_bytes), f"{run.entries:,}",
                    f"{run.chunks:,}", _bounds(run), _model(run),
                    run.versions.get("atlasae", "?"),
                ]
                for run in self.runs
            ],
            words=(0, 1, 6) if several else (0, 5),
        )  # fmt: skip
        return [
            f"{self.file}: {size_text(self.bytes)}, {_tree_or_trees(self.trees)}, {counted(self.entries, 'entries')}, "
            f"{counted(self.carried, 'branches')} carried",
            "",
            *_trees(self.trees),
            *_collections(
                [_of_all_runs(c, self.runs) for c in self.collections], [c.columns or [] for c in self.collections]
            ),
            "",
            *_jet_sizes(self.jets, self.bytes_jets_in, self.bytes_jets_out),
            file_sizes(self.bytes_file_in, self.bytes),
            "",
            made,
            *_dropped(self.dropped),
            *left_out_lines(self.left_out),
        ]


def _tree_or_trees(trees: Sequence[TreeReport]) -> str:
    return f"{'tree ' * (len(trees) == 1)}{_of_trees(trees)}"


def _model(run: RunReport) -> str:
    return f"{run.model_sha256[:12]} ({run.model_from})" if run.model_sha256 else run.model_from


def _bounds(run: RunReport) -> str:
    """The bounds of a run, each once, the tightest first."""
    bounds = {(bound, v in (e.resolutions or {})) for e in run.collections for v, bound in e.precision.items()}
    known = sorted((bound, resolved) for bound, resolved in bounds if bound is not None)
    return ", ".join([bound_text(*one) for one in known] + ["none"] * (len(known) < len(bounds)))


def _of_all_runs(stored: StoredCollection, runs: Sequence[RunReport]) -> CollectionReport:
    """A collection of a merged file, with the largest bits of its runs."""
    found = [entry.bits for run in runs for entry in run.collections if entry.name == stored.name]
    kept = {key: value for key, value in stored.items() if key not in ("bytes", "columns")}
    bits = {v: max(bits.get(v, 0.0) for bits in found) for v in found[0]}
    return CollectionReport(**kept, bytes_out=stored.bytes, exponent=None, bits=bits)


class IntegrityReport(Report):
    """The result of `verify` on a compressed file alone."""

    bytes: int
    entries: int
    jets: int
    chunks: int
    branches: list[str]
    trees: list[str]
    objects: list[str]
    models: list[str]
    dropped: list[str]
    left_out: list[LeftOut]

    def _page(self) -> Page:
        others = ", ".join(f"'{name}'" for name in [*self.trees, *self.objects])
        return [
            f"intact: {counted(self.entries, 'entries')}, {counted(self.jets, 'jets')}, "
            f"{counted(self.chunks, 'chunks')} of "
            f"{counted(len(self.branches), 'branches')}, {size_text(self.bytes)}",
            *([f"  carried beside it: {others}"] if others else []),
            *(f"  model {sha[:12]} is in the file" for sha in self.models),
            *(f"  {line}" for line in (*_dropped(self.dropped), *left_out_lines(self.left_out))),
        ]


class VerificationReport(Report):
    """The result of `verify` against the original: `differences` lists every broken promise.

    `collections` has the number of jets of each; `max_error`, `precision`, `floors` and `units` are by collection, too.
    `branches` tells how each branch was kept.
    """

    entries: int
    jets: int
    bytes_file_in: int
    bytes_file_out: int
    collections: Mapping[str, int]
    max_error: Mapping[str, Mapping[str, float]]
    precision: Mapping[str, Bounds]
    floors: Mapping[str, Mapping[str, float]]
    units: Mapping[str, str | None]
    branches: Mapping[str, str]
    dropped: list[str]
    left_out: list[LeftOut]
    differences: list[str]
    resolutions: Mapping[str, Terms] | None = None

    def _page(self) -> Page:
        kept, shares = Counter(self.branches.values()), self.resolutions or {}
        rows = [
            [name, variable, *_promise(variable, self.precision[name], found, self.collections[name], shares.get(name))]
            for name, found in self.max_error.items()
            for variable in self.precision[name]
        ]
        verdict = counted(len(self.differences), "differences") if self.differences else "as promised"
        return [
            f"{counted(self.entries, 'entries')} compared: {verdict}",
            *(f"  {problem}" for problem in self.differences[:20]),
            f"  {counted(self.jets, 'jets')}; {file_sizes(self.bytes_file_in, self.bytes_file_out)}",
            "  branches: " + ", ".join(f"{n} {how}" for how, n in sorted(kept.items(), reverse=True)),
            *(f"  {line}" for line in (*_dropped(self.dropped), *left_out_lines(self.left_out))),
            *([PageTable(["jets", "variable", "bound", "largest error"], rows, words=(0, 1))] if rows else []),
            *floor_lines(
                (name, self.units[name], _met(self.floors[name], shares.get(name)), self.precision[name])
                for name in self.max_error
            ),
            *_resolutions(self.resolutions or {}),
        ]
