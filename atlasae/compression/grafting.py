"""Compression that copies all but the jets byte for byte: their branches are taken out, their stand-ins put in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from atlasae.compression.format import CarriedTree, Contents, Graft, write_contents
from atlasae.compression.plan import Options, Plan
from atlasae.errors import UserError
from atlasae.files.branches import FOLDER
from atlasae.files.damage import damage
from atlasae.files.events import flatten
from atlasae.files.trees import Source, open_source
from atlasae.files.writing import create_in_memory
from atlasae.graft.baskets import Form, Unpacked, embedded_basket, open_basket
from atlasae.graft.buffers import Thing
from atlasae.graft.composing import Composer
from atlasae.graft.digests import Digests, Marks, objects_of, samples
from atlasae.graft.records import Records
from atlasae.graft.streamers import streamers_of, trees_among
from atlasae.graft.taken import TakenOut
from atlasae.graft.trees import (
    TREES,
    GraftedTree,
    counting,
    drop,
    embedded,
    places,
    point,
    put_in,
    refuse_others,
    take_out,
    trees_of,
)
from atlasae.jets.collections import Collection
from atlasae.jets.inputs import Opened

_RNTUPLE = "ROOT::RNTuple"


@dataclass
class Grafting:
    """A file whose jets are to be taken out: its records, the latest cycles of its trees, and that of the jets."""

    source: Source
    records: Records
    trees: list[GraftedTree]
    tree: GraftedTree
    forms: dict[str, Form] = field(default_factory=dict)

    def carried(self, plan: Plan) -> list[str]:
        """The names of the branches that are carried."""
        out = {*plan.dropped, *jet_branches(plan.collections)}
        return [name for name in self.tree.names if name not in out]


def jet_branches(collections: Sequence[Collection]) -> list[str]:
    """The branches of the variables of collections."""
    return [name for collection in collections for name in collection.branches.values()]


def grafting_of(opened: Opened, options: Options) -> Grafting | None:
    """The file taken apart, if it is to be grafted; raises UserError where it has what atlasae does not know."""
    source, tree = opened.source, opened.tree_read
    if source is None or tree is None or tree.is_rntuple or options.rewrites or opened.part:
        return None
    if any(other.is_rntuple for other in source.trees.values()):
        return None
    with damage(f"'{opened.path}'"):
        records = Records(source.read, opened.path.stat().st_size)
        refuse_others(records, trees_among(streamers_of(records)) - set(TREES) | {_RNTUPLE})
        trees = latest(trees_of(records), opened.tree)
        return Grafting(source, records, trees, next(tree for tree in trees if tree.path == opened.tree))


def latest(trees: Sequence[GraftedTree], name: str) -> list[GraftedTree]:
    """The trees of a file without older cycles of the tree `name`, whose baskets are those of the latest."""
    cycles = [tree.key.cycle for tree in trees if tree.path == name]
    for tree in trees:
        if tree.path == name and tree.key.cycle != max(cycles):
            tree.folder.keys.remove(tree.key)
    return [tree for tree in trees if tree.path != name or tree.key.cycle == max(cycles)]


def forms_of(grafting: Grafting, opened: Opened, collections: Sequence[Collection]) -> dict[str, Form] | None:
    """How the branches of jets store their values, found by packing the first basket; None if one can't be packed."""
    forms = {}
    for collection in collections:
        for variable, name in collection.branches.items():
            dtype = collection.dtypes[variable].replace("<", ">")
            with damage(f"branch '{name}'"):
                form = _form_of(grafting, opened, name, Form(dtype, collection.jagged))
            if form is None:
                return None
            forms[name] = form
    return forms


def _form_of(grafting: Grafting, opened: Opened, name: str, form: Form) -> Form | None:
    _, branch = grafting.tree.named(name)
    first = _first_basket(grafting.records, branch)
    if first is None:
        return form
    values, counts = flatten(opened.events.read([name], 0, first.entries)[name])
    candidates = [form]
    if form.jagged and len(first.data) >= 6:
        candidates.append(replace(form, vector=int.from_bytes(first.data[4:6], "big")))
    return next((one for one in candidates if one.pack(values, counts)[0] == first.data), None)


def _first_basket(records: Records, branch: Thing) -> Unpacked | None:
    """The first basket of a branch, if it has any."""
    for place in places(branch, records)[:1]:
        return open_basket(records.read(place.at, place.at + place.nbytes))
    return next((embedded_basket(basket) for _, basket in embedded(branch)), None)


def plan_of(grafting: Grafting, plan: Plan) -> Plan:
    """The plan with what can be dropped from a file: not the branches that count others."""
    counters = counting(grafting.tree, {*plan.dropped, *jet_branches(plan.collections)})
    return replace(plan, dropped=[name for name in plan.dropped if name not in counters])


@contextmanager
def _of_file(path: Path) -> Iterator[Records]:
    """The records of a file that atlasae wrote."""
    with open_source(path) as source:
        yield Records(source.read, path.stat().st_size)


def write_grafted(grafting: Grafting, plan: Plan, stand_ins: Path, contents: Contents, path: Path) -> Contents:
    """Write the input without its jets, with their stand-ins; returns the contents of the folder `atlasae`."""
    tree, run = grafting.tree, contents.runs[0]
    counters = _counters_kept(grafting, plan)
    drop(tree, plan.dropped)
    taken = take_out(tree, jet_branches(plan.collections))
    out, objects = TakenOut.of(tree, taken, grafting.forms), dict(objects_of(grafting.records, FOLDER))
    found = samples(grafting.records, tree)
    with Composer(path, grafting.records) as composer, _of_file(stand_ins) as made:
        edges = list(accumulate(chunk.entries for chunk in contents.chunks))
        digests = Digests(grafting.records, grafting.trees, {tree.path: edges})
        composer.copy_all(grafting.trees, digests.seen)
        carried = {
            other.path: CarriedTree(other.thing["fEntries"], Marks.of(digests.found(other.path)))
            for other in grafting.trees
            if other is not tree
        }
        marks = [Marks.of(digests.found(tree.path, number)).numbers for number in range(len(edges))]
        graft = Graft(out, carried, objects, grafting.source.uuid, len(tree.names), found)
        _put_stand_ins(composer, grafting, made, counters)
        pairs = zip(contents.chunks, marks, strict=True)
        chunks = [replace(chunk, checksums=chunk.checksums + numbers) for chunk, numbers in pairs]
        contents = replace(contents, runs=[replace(run, graft=graft)], chunks=chunks)
        add_contents(composer, contents)
        composer.finish(grafting.trees)
    return contents


def _counters_kept(grafting: Grafting, plan: Plan) -> dict[str, Thing]:
    """The leaves of the input that count jets, by the name of their branch."""
    found = {}
    for collection in plan.collections:
        if collection.counter and collection.counter not in plan.dropped:
            _, branch = grafting.tree.named(next(iter(collection.branches.values())))
            leaf = branch["fLeaves"].items[0]["fLeafCount"]
            found[collection.counter] = leaf or grafting.tree.named(collection.counter)[1]["fLeaves"].items[0]
    return found


def _put_stand_ins(composer: Composer, grafting: Grafting, made: Records, counters: Mapping[str, Thing]) -> None:
    """Copy the baskets of the stand-ins, and put their branches into the tree, counted by what counted the jets."""
    (other,) = trees_of(made)
    names = set(grafting.tree.names)
    ours = [branch for _, branch in other.walk() if branch.name not in counters]
    if taken := names.intersection(branch.name for branch in ours):
        raise UserError(f"branch '{min(taken)}' is in the way of the jets: leave it out with --drop")
    composer.copy_baskets(made, ours, grafting.tree.folder.at)
    for branch in ours:
        point(branch, lambda leaf: counters.get(leaf.name, leaf))
        put_in(grafting.tree, branch)
    composer.add_streamers(made)


def add_contents(composer: Composer, contents: Contents) -> None:
    """Add the folder `atlasae`."""
    with create_in_memory() as (target, buffer):
        write_contents(target, contents)
    data = buffer.getvalue()
    made = Records(lambda start, stop: data[start:stop], len(data))
    folder = composer.add_folder(FOLDER.encode())
    trees = {id(tree.key): tree for tree in trees_of(made)}
    for inner in next(iter(made.root.folders.values())).keys:
        if tree := trees.get(id(inner)):
            composer.copy_baskets(made, list(tree.branches()), folder.at)
            folder.keys.append(composer.add_tree(folder, inner, tree.thing))
        else:
            folder.keys.append(composer.add(folder, inner, made.payload(inner), inner.objlen))
    composer.add_streamers(made)
