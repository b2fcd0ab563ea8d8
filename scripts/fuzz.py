"""Damage and forge files at random: each must end in a clean refusal or a correct result.

    python scripts/fuzz.py --number 20000 --seed 1
    python scripts/fuzz.py --number 3000 --seed 1 --layout packed

Small files of every kind are made from `data/jets.root`: compressed ones, models, tables, and ROOT files to compress.
Copies are changed (bits, bytes, blocks, lengths, integers; in forged ones the JSON, the latents or the weights, with
matching checksums; the JSON in copies of files that were copied byte for byte) and passed to the command that reads
them, one after the other in one process per worker, which reads a sound file after each. It prints how many were
refused, how many gave the correct result, and every failure: a traceback, a hang, wrong jets, code that ran, a file
that is left over, a sound file that is read differently than before.
"""

import contextlib
import io
import json
import multiprocessing
import os
import platform
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import awkward as ak
import click
import numpy as np
import torch
import uproot

from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
from atlasae.codecs.model import Model, default_model
from atlasae.codecs.priors import Priors, default_priors
from atlasae.commands.cli import main as atlasae_main
from atlasae.compression.format import Chunk, Contents, Copied, Run, read_contents, write_contents
from atlasae.compression.grafting import add_contents
from atlasae.files.branches import FOLDER
from atlasae.files.checksums import checksum
from atlasae.files.events import Table
from atlasae.files.tables import write_table
from atlasae.files.trees import open_source
from atlasae.files.writing import create
from atlasae.graft.composing import Composer
from atlasae.graft.records import Records
from atlasae.graft.trees import trees_of

JETS = Path(__file__).parents[1] / "data" / "jets.root"
ENTRIES = 40
FORGED = ("default", "embedded", "rewritten", "whole", "resolved")  # compressed files that are forged
HANGS = 20  # seconds of CPU time after which a command counts as hanging
WAITS = 1200  # seconds of real time, for commands that wait without CPU time
RUNS_CODE = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect")
ODD: tuple[Any, ...] = (
    0,
    1,
    -1,
    2**31 - 1,
    -(2**31),
    2**63,
    "",
    "x",
    None,
    [],
    {},
    True,
    1e308,
    float("nan"),
    [[]],
    {"a": 1},
    "../../x",
)


# --- what is changed


def make_corpus(folder: Path) -> None:
    """Write small files of every kind, named `KIND-NAME.SUFFIX`."""
    make_original(folder / "input-jets.root")
    table = make_table()
    for suffix in ("pkl", "parquet", "csv", "npz", "h5"):
        write_table(folder / f"input-table.{suffix}", table)
    (folder / "model-invertible.model").write_bytes(default_model().content)
    torch.manual_seed(1)
    network = BottleneckAutoencoder(Bottleneck(("m", "pt", "phi", "eta"), ("log10", "log10", "linear", "linear"), (8,)))
    (folder / "model-mlp.model").write_bytes(Model.from_autoencoder(network.double(), {}).content)
    ways: dict[str, list[str]] = {
        "default": ["--step-size", "4kB"],
        "embedded": ["--precision", "full", "--model", str(folder / "model-mlp.model")],
        "repacked": ["--compression", "lzma:5", "--drop", "*Constituents"],
        "rewritten": ["--step-size", "4kB", "--rewrite"],
        "ntuple": ["--format", "rntuple", "--only-jets"],
        "whole": ["--whole-jets", "*"],
        "resolved": ["--precision", "resolution/20"],
        "trees": ["--step-size", "4kB"],
    }
    make_original(folder / "fields.root", separator="_")  # ROOT allows no dots in names of fields
    make_original(folder / "trees.root", trees=("nominal", "deep/up"))
    for name, options in ways.items():
        source = {"ntuple": "fields.root", "trees": "trees.root"}.get(name, "input-jets.root")
        make(["compress", str(folder / source), str(folder / f"compressed-{name}.root"), *options])
    compress_tables(folder)
    restore_all(folder)


def make_packed_corpus(folder: Path) -> None:
    """Write small compressed files in the packed layout, and no others."""
    make_original(folder / "jets.root")
    tables = {name: replace(prior, counts=(prior.counts + 1) // 2) for name, prior in default_priors().of.items()}
    (folder / "tables.safetensors").write_bytes(Priors.from_tables(tables).content)
    own = ["--model", str(folder / "tables.safetensors")]
    ways = {"default": ["--step-size", "4kB"], "embedded": ["--only-jets", *own], "alone": ["--no-context"]}
    ways |= {"whole": ["--whole-jets", "*"], "resolved": ["--precision", "resolution/20"]}
    for name, options in ways.items():
        target = str(folder / f"compressed-{name}.root")
        make(["compress", str(folder / "jets.root"), target, "--layout", "packed", *options])
    compress_tables(folder, "--layout", "packed")
    restore_all(folder)


def compress_tables(folder: Path, *options: str) -> None:
    """Compress the first jets as a table, and the same with cut mantissas and rows of -999."""
    table = make_table()
    rounded = {v: (x.astype(np.float32).view(np.uint32) >> 13 << 13).view(np.float32) for v, x in table.columns.items()}
    for values in rounded.values():
        values[::5] = -999
    for name, one in {"table": table, "rounded": Table(rounded, None, None)}.items():
        write_table(folder / f"{name}.pkl", one)
        arguments = [str(folder / f"{name}.pkl"), str(folder / f"compressed-{name}.root"), "--units", "MeV"]
        make(["compress", *arguments, *options])


def restore_all(folder: Path) -> None:
    """Decompress every compressed file, to compare changed copies with."""
    for path in folder.glob("compressed-*.root"):
        make(["decompress", str(path), str(path.with_name(path.name.replace("compressed", "restored")))])


def make(arguments: list[str]) -> None:
    """Run a command that has to succeed; raises RuntimeError."""
    code, errors = run(arguments)
    if code:
        raise RuntimeError(errors)


def make_original(path: Path, separator: str = ".", trees: tuple[str, ...] = ("CollectionTree",)) -> None:
    """Write a few events in each of the trees, with other objects that a file may have."""
    with uproot.open(JETS) as file:
        tree = next(file[name] for name, kind in file.classnames().items() if kind == "TTree")
        events = {branch.name: branch.array(entry_stop=ENTRIES) for branch in tree.branches}
    events = {name.replace(".", separator): array for name, array in events.items() if not name.startswith("n")}
    with uproot.recreate(path) as file:
        types = {name: a.layout.form.type if a.ndim > 1 else ak.to_numpy(a).dtype for name, a in events.items()}
        for tree in trees:
            file.mktree(tree, types, counter_name=lambda name: f"n{name.split(separator)[0]}").extend(events)
        texts = ak.Array(["a text", "é" * 300, ""] * 10)
        file.mktree("more", {"x": "f8", "text": "string"}).extend({"x": np.arange(30.0), "text": texts})
        file["histogram"] = np.histogram(np.arange(30.0))
        file["folder/note"] = "a note"


def make_table() -> Table:
    """The first jets as a table."""
    with uproot.open(JETS) as file:
        tree = next(file[name] for name, kind in file.classnames().items() if kind == "TTree")
        jets = {v: ak.flatten(tree[f"AntiKt4TruthJetsAuxDyn.{v}"].array(entry_stop=ENTRIES)) for v in ("m", "pt")}
        jets |= {v: ak.flatten(tree[f"AntiKt4TruthJetsAuxDyn.{v}"].array(entry_stop=ENTRIES)) for v in ("phi", "eta")}
    return Table({v: ak.to_numpy(x).astype(np.float64) for v, x in jets.items()}, None, None)


# --- how


def flip(rng: np.random.Generator, content: bytes) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def scribble(rng: np.random.Generator, content: bytes) -> bytes:
    """Overwrite a few positions with random bytes, zeros, or integers at the limits of their types."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        number = struct.pack(">q", int(rng.choice([0, -1, 1, 2**31 - 1, 2**31, 2**40, 2**62])))[
            -int(rng.choice([2, 4, 8])) :
        ]
        piece = [rng.bytes(int(rng.integers(1, 40))), bytes(int(rng.integers(1, 200))), number][rng.integers(3)]
        position = int(rng.integers(len(changed)))
        changed[position : position + len(piece)] = piece
    return bytes(changed[: len(content)])


def move(rng: np.random.Generator, content: bytes) -> bytes:
    """Copy a block to another position, or remove it."""
    start, length, position = (int(rng.integers(n)) for n in (len(content), 400, len(content)))
    block = content[start : start + length]
    if rng.random() < 0.3:
        return content[:start] + content[start + length :]
    return content[:position] + block + content[position + (len(block) if rng.random() < 0.7 else 0) :]


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    """Cut off the end."""
    return content[: int(rng.integers(len(content)))]


def forge_header(rng: np.random.Generator, content: bytes) -> bytes:
    """Change the JSON of a model file, keeping its format valid."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if rng.random() < 0.5:
        header["__metadata__"]["atlasae"] = json.dumps(altered(rng, json.loads(header["__metadata__"]["atlasae"])))
    else:
        header = altered(rng, header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def altered(rng: np.random.Generator, facts: Any) -> Any:
    """JSON with a leaf or branch replaced by another value."""
    if isinstance(facts, dict | list) and len(facts) and rng.random() < 0.93:
        key = list(facts)[rng.integers(len(facts))] if isinstance(facts, dict) else int(rng.integers(len(facts)))
        changed = facts.copy()
        if rng.random() < 0.08:
            del changed[key]
        else:
            changed[key] = altered(rng, facts[key])
        return changed
    if isinstance(facts, int | float) and rng.random() < 0.5:
        return facts * int(rng.choice([-1, 2, 1000, 2**40])) + int(rng.integers(-1, 2))
    return ODD[rng.integers(len(ODD))]


MUTATIONS = {"flip": flip, "scribble": scribble, "move": move, "cut": cut, "header": forge_header}
FORGE = "forge"
KINDS = ("compressed-", "model-", "input-")


def forge(rng: np.random.Generator, path: Path, target: Path) -> None:
    """Write a compressed file with other JSON, chunks or latents, and matching checksums."""
    events, text, chunks, models, grafted = parts_of(path)
    events, chunks = dict(events), [*chunks]
    how = rng.integers(2 if grafted else 3)
    if how == 0:
        text = json.dumps(altered(rng, json.loads(text)))
    elif how == 1:
        i = int(rng.integers(len(chunks)))
        odd = int(rng.choice([0, -1, 1, 2**31, 2**62, chunks[i].entries + 1]))
        chunks[i] = replace(chunks[i], entries=odd) if rng.random() < 0.5 else replace(chunks[i], jets=odd)
    else:
        spoil(rng, events)
        chunks = checksummed(events, chunks, json.loads(text)["written"])
    if grafted:
        write_beside(path, target, Forged(text, chunks, models))
        return
    with create(target) as file:
        counters = json.loads(text).get("counters", {}) if how else json.loads(parts_of(path)[1])["counters"]
        file.make_tree("CollectionTree", events, counters=counters).extend(events)
        write_contents(file, Forged(text, chunks, models))


def write_beside(path: Path, target: Path, contents: Contents) -> None:
    """Copy a file with another folder `atlasae`."""
    data = path.read_bytes()
    records = Records(lambda start, stop: data[start:stop], len(data))
    records.leave_out(FOLDER)
    trees = trees_of(records)
    with Composer(target, records) as composer:
        composer.copy_all(trees, lambda *_: None)
        add_contents(composer, contents)
        composer.finish(trees)


class Forged(Contents):
    """Contents whose only run has any text."""

    def __init__(self, text: str, chunks: list[Chunk], models: dict[str, bytes]) -> None:
        run = Run({"name": "", "bytes": 0}, "CollectionTree", "", 0, 0, [], [], [], [], {}, [], {})
        object.__setattr__(run, "to_json", lambda: text)
        super().__init__([run], chunks, models)


@cache
def parts_of(path: Path) -> tuple[dict[str, ak.Array], str, list[Chunk], dict[str, bytes], bool]:
    """The branches, the JSON, the chunks and the models of a compressed file, and whether it was grafted."""
    with open_source(path) as source:
        contents = read_contents(source)
        run, tree = contents.runs[0], source.trees["CollectionTree"]
        alone = replace(run, copied=Copied())  # else verify would miss the other objects
        events = tree.read(run.written, 0, tree.entries)
        return events, alone.to_json(), contents.chunks, contents.models, run.graft is not None


def spoil(rng: np.random.Generator, events: dict[str, ak.Array]) -> None:
    """Replace numbers of one branch by random ones."""
    name = list(events)[rng.integers(len(events))]
    flat = ak.to_numpy(ak.flatten(events[name], axis=None)).copy()
    if not len(flat) or flat.dtype.kind not in "iuf":
        return
    words = flat.view(f"u{flat.dtype.itemsize}")
    some = rng.random(len(words)) < rng.choice([0.02, 1.0])
    words[some] = rng.integers(0, 2 ** (8 * flat.dtype.itemsize), int(some.sum()), dtype=words.dtype)
    if flat.dtype.kind == "f" and rng.random() < 0.5:
        flat[some] = rng.choice([np.nan, np.inf, -1, 0, 1, 2])
    events[name] = ak.unflatten(flat, ak.num(events[name])) if events[name].ndim > 1 else ak.Array(flat)


def checksummed(events: dict[str, ak.Array], chunks: list[Chunk], written: list[str]) -> list[Chunk]:
    """The chunks with the checksums of these events."""
    start, made = 0, []
    for chunk in chunks:
        part = [checksum(events[name][start : start + chunk.entries]) for name in written]
        made.append(Chunk(chunk.entries, chunk.jets, part))
        start += chunk.entries
    return made


# --- what comes of it


@dataclass(frozen=True)
class Task:
    """One file to change; seed and number determine all about it."""

    folder: Path
    seed: int
    number: int
    ways: tuple[str, ...]


def one(task: Task) -> tuple[str, str]:
    """Change a file of the corpus; returns its kind and the outcome."""
    rng = np.random.default_rng([task.seed, task.number])
    way = task.ways[rng.integers(len(task.ways))]
    paths = [path for path in sorted(task.folder.iterdir()) if changeable(path, way)]
    path = paths[rng.integers(len(paths))]
    sound = min(task.folder.glob("restored-*.root"))
    known_facts(sound)  # cached before any damaged file is read
    with tempfile.TemporaryDirectory(dir=task.folder.parent) as scratch:
        changed = Path(scratch) / path.name
        signal.setitimer(signal.ITIMER_PROF, HANGS)
        signal.alarm(WAITS)
        try:
            change(rng, way, path, changed)
            outcome = judged(task.folder, path, changed, way == FORGE)
            if not same(sound, sound):
                outcome = f"{outcome}, but a sound file is read otherwise after it"
        except BaseException as error:  # noqa: BLE001 - every exception is counted as a failure
            outcome = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
    return f"{path.name.partition('-')[0]}, {way}", outcome


def changeable(path: Path, way: str) -> bool:
    """Whether a file of the corpus can be changed in this way."""
    if way == FORGE:
        return path.name in {f"compressed-{name}.root" for name in FORGED}
    return path.name.partition("-")[0] == "model" if way == "header" else path.name.startswith(KINDS)


def change(rng: np.random.Generator, way: str, path: Path, changed: Path) -> None:
    """Write a changed file."""
    if way == FORGE:
        with contextlib.suppress(Exception):  # what can't be written can't be read either
            forge(rng, path, changed)
            return
        changed.unlink(missing_ok=True)
    changed.write_bytes(MUTATIONS.get(way, flip)(rng, path.read_bytes()))


def judged(folder: Path, path: Path, changed: Path, forged: bool) -> str:
    """Pass a changed file to its command; returns `refused`, `correct`, or what is wrong."""
    out = changed.with_name("out.root")
    kind, _, name = path.stem.partition("-")
    commands = {
        "compressed": ["decompress", str(changed), str(out)],
        "model": ["compress", str(folder / "input-jets.root"), str(out), "--model", str(changed)],
        "input": ["compress", str(changed), str(out), "--drop-unwritable"],
    }
    code, errors = run(commands[kind])
    if kind == "compressed" and (other := told_otherwise(changed, code)):
        return other
    if code in (2, 3):
        left = [entry.name for entry in out.parent.iterdir() if entry != changed]
        return "refused" if is_one_line(errors) and not left else f"exit {code}, left {left}: {errors}"
    if code:
        return f"exit {code}: {errors}"
    if kind == "compressed":
        return "correct" if forged or same(out, folder / f"restored-{name}.root") else "other jets"
    original = changed if kind == "input" else folder / "input-jets.root"
    code, errors = run(["verify", str(original), str(out)])
    return "correct" if code == 0 else f"verify: exit {code}: {errors}"


def told_otherwise(changed: Path, code: int) -> str | None:
    """What `info` does wrong, or where `verify` contradicts the exit code of decompress; else None."""
    ended, errors = run(["info", str(changed)])
    if ended and (ended not in (2, 3) or not is_one_line(errors)):
        return f"info: exit {ended}: {errors}"
    ended, errors = run(["verify", str(changed)])
    if ended != code or (ended and not is_one_line(errors)):
        return f"verify: exit {ended}, decompress {code}: {errors}"
    return None


def is_one_line(errors: str) -> bool:
    """Whether an error is reported on one line."""
    return errors.startswith("atlasae: ") and errors.count("\n") == 1


def run(arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of `atlasae ARGUMENTS`; other exceptions pass."""
    out, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["atlasae", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            atlasae_main()
    except SystemExit as done:
        return int(done.code or 0), errors.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("the command did not exit")


def same(path: Path, reference: Path) -> bool:
    """Whether two ROOT files have the same trees, bit for bit, and the same objects."""
    return facts_of(path) == known_facts(reference)


@cache
def known_facts(path: Path) -> list[tuple[Any, ...]]:
    """`facts_of`, cached."""
    return facts_of(path)


def facts_of(path: Path) -> list[tuple[Any, ...]]:
    """The contents of a file as checksums and names."""
    with open_source(path) as source:
        trees = [
            (name, tree.title, branch, checksum(tree.read([branch.name], 0, tree.entries)[branch.name]))
            for name, tree in source.trees.items()
            for branch in tree.branches
        ]
        return [*trees, *((name, source.copy_object(name)) for name in source.objects)]


def start_worker() -> None:
    """Forbid that files run code, or commands run for long, in this process."""
    torch.set_num_threads(1)
    platform.processor()  # known from now on: libraries of HDF5 ask for it, by `uname -p`, which is no code of a file
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, hanging)
    sys.addaudithook(watch)


def hanging(number: int, frame: object) -> None:
    """Raise an exception that no handler of atlasae takes for damage."""
    os.write(2, b"a hang: this process ends\n")
    os._exit(9)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """End the process where a file would run code."""
    if event in RUNS_CODE:
        os.write(2, f"code would run: {event} {arguments}\n".encode())
        os._exit(8)


# --- all of them


def outcomes(tasks: list[Task], workers: int) -> Iterator[tuple[Task, str, str]]:
    """Yields the outcome of every task."""
    with ThreadPoolExecutor(workers) as threads:
        for part in threads.map(apart, [tasks[i::workers] for i in range(workers)]):
            yield from part


def apart(tasks: list[Task]) -> list[tuple[Task, str, str]]:
    """Do tasks in another process, one after the other; a process that ends is replaced."""
    done, pool = [], new_process()
    for task in tasks:
        try:
            done.append((task, *pool.submit(one, task).result()))
        except BrokenProcessPool:
            done.append((task, "any", "the process died: a hang, a crash, or code that would run"))
            pool = new_process()
    pool.shutdown()
    return done


def new_process() -> ProcessPoolExecutor:
    """A process for tasks."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_worker)


@click.command()
@click.option("--number", default=300, show_default=True, help="How many files to change.")
@click.option("--seed", default=1, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--first", default=0, help="Number to begin with: to see a failure again.")
@click.option("--way", "ways", multiple=True, type=click.Choice([*MUTATIONS, FORGE]), help="Only change in these ways.")
@click.option("--layout", type=click.Choice(["floats", "packed"]), default="floats", show_default=True)
def main(number: int, seed: int, workers: int, first: int, ways: tuple[str, ...], layout: str) -> None:
    """Change files at random, and count the outcomes."""
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "corpus"
        folder.mkdir()
        if layout == "packed":
            make_packed_corpus(folder)
            ways = ways or (*(way for way in MUTATIONS if way != "header"), FORGE)  # there are no models
        else:
            make_corpus(folder)
        for task, kind, outcome in outcomes(
            [Task(folder, seed, first + i, ways or (*MUTATIONS, FORGE)) for i in range(number)], workers
        ):
            good = outcome in ("refused", "correct")
            counts[kind, outcome if good else "FAILED"] += 1
            if not good:
                failures.append(f"--seed {seed} --first {task.number} ({kind}): {outcome}")
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:20} {outcome:8} {count:6}")
    print(f"{number} files changed, seed {seed}: {len(failures)} failures", *failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
