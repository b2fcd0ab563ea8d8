"""Kill `compress --force` at random moments: the target must then be the old file or the complete new one.

    python scripts/kill.py --number 100 --seed 1

Each time a process compresses the first events of `data/jets.root` over an older file, and gets SIGKILL after a random
time. The next run must succeed, and the last one must leave nothing but its target.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
import uproot

from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.compression.verify import verify_file
from atlasae.jets.precision import Precision

JETS = Path(__file__).parents[1] / "data" / "jets.root"
ENTRIES = 200
OPTIONS = Options(Precision.parse("1e-3"), force=True, step_size=8_000)


def make_input(path: Path) -> None:
    """Write the first events of data/jets.root."""
    with uproot.open(JETS) as file:
        tree = file["CollectionTree"]
        names = [f"AntiKt4TruthJetsAuxDyn.{v}" for v in ("pt", "eta", "phi", "m")]
        jets = {name: tree[name].array(entry_stop=ENTRIES) for name in names}
    with uproot.recreate(path) as file:
        types = {name: array.layout.form.type for name, array in jets.items()}
        file.mktree("CollectionTree", types, counter_name=lambda name: "njets").extend(jets)


def compress_in_a_fork(path: Path, target: Path) -> int:
    """Start a process that compresses; returns its id."""
    child = os.fork()
    if not child:
        compress_file(path, target, OPTIONS)
        os._exit(0)
    return child


def killed_after(seconds: float, path: Path, target: Path) -> bool:
    """Compress, and kill it after this time; returns whether it was still running."""
    child = compress_in_a_fork(path, target)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def state_of(path: Path, target: Path, old: bytes) -> str:
    """`old`, `new`, or what is wrong with the target."""
    if target.read_bytes() == old:
        return "old"
    return "new" if not verify_file(path, target)["differences"] else "broken"


@click.command()
@click.option("--number", default=100, show_default=True, help="How many times to kill.")
@click.option("--seed", default=1, show_default=True)
def main(number: int, seed: int) -> None:
    """Kill compress at random moments, and count the states of the target."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        path, target = Path(scratch) / "in.root", Path(scratch) / "out.root"
        make_input(path)
        compress_file(path, target, OPTIONS)  # the first call is slower
        started = time.perf_counter()
        compress_file(path, target, OPTIONS)
        needed, old = time.perf_counter() - started, target.read_bytes()
        states, killed, leftovers = [], 0, 0
        for _ in range(number):
            target.write_bytes(old)
            killed += killed_after(rng.uniform(0, 1.1 * needed), path, target)
            leftovers += len(list(target.parent.glob(".atlasae-*")))
            states.append(state_of(path, target, old))
        compress_file(path, target, OPTIONS)
        left = sorted(file.name for file in target.parent.iterdir())
    wrong = number - states.count("old") - states.count("new")
    print(
        f"{number} runs of {needed:.2f} s, {killed} killed at work: {states.count('old')} old targets, "
        f"{states.count('new')} new ones, {wrong} broken; {leftovers} leftovers seen, {len(left) - 2} left at the end"
    )
    sys.exit(1 if wrong or left != ["in.root", "out.root"] else 0)


if __name__ == "__main__":
    main()
