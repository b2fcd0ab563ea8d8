"""The harness of all benchmarks: jobs run in separate processes, in turns; writes results.json and results.md.

    python scripts/benchmarks/SUBJECT.py [FILE...] [-o FOLDER]

measures one subject, prints its tables and replaces its part of the results in FOLDER (this folder by default). A
subject is a script in this folder: its docstring says what is measured, its jobs follow, and `measure(given)` returns
its tables. A job is a function of the script with arguments, and runs in a separate process: the function prepares it,
imports included, and returns a callable; only the call is timed. CPU seconds are user and system time of the process
and its children; of several runs the minimum counts, and of peak memory the maximum. Only the standard library is
imported here: ROOT's Python may have nothing else.
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "data" / "jets.root"
MAKE_LARGE = HERE.parent / "make_large.py"
ATLASAE = str(Path(sys.executable).with_name("atlasae"))
LAYOUTS = ("floats", "packed")
LIBRARIES = ("atlasae", "numpy", "torch", "uproot")
DIGITS = 6  # significant digits of a figure in results.json
MEGABYTE = 1e6

Row = dict[str, float]
Table = dict[str, Row]
Tables = dict[str, Table]
Work = Callable[[], Any]
Works = dict[tuple[str, str], Work]  # by row and column
Job = Sequence[Any]  # a function of a script here that prepares the job, and its arguments, which become text


# Measuring


@dataclass(frozen=True)
class Taken:
    """CPU and wall time (seconds) and peak memory (bytes) of a job, and what it returned, which must be JSON."""

    cpu: float
    wall: float
    peak: float
    found: Any

    def better(self, other: "Taken") -> "Taken":
        """The smaller times and the larger peak of two runs."""
        return Taken(min(self.cpu, other.cpu), min(self.wall, other.wall), max(self.peak, other.peak), self.found)


def take_turns(jobs: Mapping[str, Job], times: int) -> dict[str, Taken]:
    """Run every job `times` times, in rounds, so that other load affects all jobs alike."""
    found: dict[str, Taken] = {}
    for _ in range(times):
        for name, job in jobs.items():
            taken = alone(*job)
            found[name] = taken.better(found[name]) if name in found else taken
    return found


def alone(prepare: Callable[..., Work], *arguments: object, python: str = sys.executable) -> Taken:
    """Run a job in a separate process; raises CalledProcessError if it fails."""
    subject = Path(prepare.__code__.co_filename).stem  # its module may be the one that was started
    line = [python, "-W", "ignore", __file__, subject, prepare.__name__, *map(str, arguments)]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def run_job(subject: str, name: str, *arguments: str) -> None:
    """Prepare a job, run it in this process, and print its `Taken` as JSON."""
    work = getattr(import_module(subject), name)(*arguments)
    cpu, wall = cpu_seconds(), time.perf_counter()
    found = work()
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak_bytes(), "found": found}))


def run_atlasae(*arguments: str) -> Work:
    """Prepare a command of atlasae, whose imports are timed, too."""
    return lambda: subprocess.run([ATLASAE, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def command(*arguments: object) -> Taken:
    """Run a command of atlasae; `found` is its output."""
    return alone(run_atlasae, *arguments)


def fastest(works: Works, times: int = 3) -> Table:
    """The CPU seconds of each work (row, column) in this process, the minimum of several runs."""
    table = Table()
    for _ in range(times):
        for (name, column), work in works.items():
            row, started = table.setdefault(name, {}), cpu_seconds()
            work()
            row[column] = min(cpu_seconds() - started, row.get(column, math.inf))
    return table


def millions_a_second(jets: float, seconds: Table) -> Table:
    """Million jets per second, from the seconds for `jets` jets."""
    return {name: {column: jets / 1e6 / took for column, took in row.items()} for name, row in seconds.items()}


def transposed(table: Table) -> Table:
    """A table with rows as columns."""
    names = dict.fromkeys(name for row in table.values() for name in row)
    return {name: {of: row[name] for of, row in table.items() if name in row} for name in names}


def cpu_seconds() -> float:
    """User and system time (seconds) of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_bytes() -> float:
    """The peak memory (bytes) of this process or of a finished child, imports included."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():  # a process inherits ru_maxrss of its parent, but not VmHWM
        own = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return unit * max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def megabytes(path: Path | str) -> float:
    """The size of a file."""
    return Path(path).stat().st_size / MEGABYTE


# What a subject is given, and its results


class Given(argparse.Namespace):
    """The FILEs of a subject, a folder of its own, one that keeps long files (`scratch`), and its own options."""

    files: list[Path]
    folder: Path
    scratch: Path

    @property
    def input(self) -> Table:
        """The table that tells what long files were made from."""
        return {self.files[0].name: {"jets": self.jets}}

    def long(self, jets: int | None = None, seed: int = 1) -> Path:
        """A file with at least `jets` jets (or --jets) made from the first FILE; an existing one is used again."""
        return long_file(self.files[0], jets or self.jets, self.scratch, seed)

    def longer_too(self, rows: Callable[[Path, Path, int], Table]) -> Tables:
        """The table of rows of a file `longer` times as long, measured once, if one is asked for."""
        if self.longer == 1:
            return {}
        long = self.long(self.longer * self.jets)
        return {f"{self.longer} times as many jets": rows(long, self.folder, 1)}


def long_file(path: Path, jets: int, folder: Path, seed: int = 1) -> Path:
    """The same of another file, in a folder."""
    target = folder / f"{path.stem}_{jets}_{seed}.root"
    if not target.exists():
        given = map(str, (path, target, "--jets", jets, "--seed", seed))
        subprocess.run([sys.executable, MAKE_LARGE, *given], check=True)
    return target


def main(about: str | None, measure: Callable[[Given], Tables], cores: int = 1, **options: Any) -> None:
    """Read the command line of a subject, measure on one core or on all (0), print the tables, write the results.

    Further options are keywords with their defaults: a number, a text or None, a list of texts.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=[SAMPLE], metavar="FILE", help="or data/jets.root")
    parser.add_argument("-o", dest="output", type=Path, default=HERE, metavar="FOLDER", help="of the results")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="keeps long files that several subjects need")
    for name, default in options.items():
        kind = {"nargs": "+"} if isinstance(default, list) else {"type": str if default is None else type(default)}
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, **kind)
    given = parser.parse_args(namespace=Given())
    facts = circumstances()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        given.folder = Path(folder)
        given.scratch = given.scratch or given.folder
        tables = measure(given)
    subject = Path(sys.argv[0]).stem
    print("\n".join(page(subject, save(given.output, subject, about or "", facts, tables))))


def circumstances() -> dict[str, Any]:
    """Date, load, cores and versions of libraries; not the name of the machine."""
    facts = {"date": datetime.now(UTC).date().isoformat(), "load": round(os.getloadavg()[0], 1)}
    libraries = {name: version(name) for name in LIBRARIES}
    return facts | {"cores": os.cpu_count(), "python": platform.python_version()} | libraries


def save(folder: Path, subject: str, about: str, facts: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """Replace a subject's part of results.json, and rewrite results.md; returns the part."""
    path = folder / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    part = {"about": about.partition("\n")[0], "measured": dict(facts), "tables": rounded(tables)}
    results = dict(sorted((results | {subject: part}).items()))
    path.write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(document(results))
    return part


def rounded(figures: Any) -> Any:
    """Figures, rounded to `DIGITS` significant digits."""
    if isinstance(figures, Mapping):
        return {name: rounded(figure) for name, figure in figures.items()}
    return figures if isinstance(figures, int) else float(f"{figures:.{DIGITS}g}")


def document(results: Mapping[str, Any]) -> str:
    """All results in Markdown."""
    lines = ["# What was measured", "", "Made of `results.json` by the scripts of this folder: `bash run.sh`.", ""]
    return "\n".join([*lines, *(line for subject, part in results.items() for line in page(subject, part))])


def page(subject: str, part: Mapping[str, Any]) -> Iterator[str]:
    """The lines of one subject in Markdown."""
    facts = ", ".join(f"{name} {fact}" for name, fact in part["measured"].items())
    yield from (f"## {subject}", "", part["about"], "", f"Measured: {facts}.", "")
    for name, rows in part["tables"].items():
        columns = list(transposed(rows))
        yield f"| {name} | " + " | ".join(columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        for title, row in rows.items():
            yield f"| {title} | " + " | ".join(text(row.get(column)) for column in columns) + " |"
        yield ""


def text(figure: float | None) -> str:
    """A figure with 4 digits, or as an integer from 1000; empty for None."""
    if figure is None:
        return ""
    return f"{figure:,.0f}" if abs(figure) >= 1000 or isinstance(figure, int) else f"{figure:.4g}"


if __name__ == "__main__":
    run_job(*sys.argv[1:])
