"""Parts of a file that was split: their names, their entries, their order, and whether they fit together."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from atlasae.compression.format import Contents, Run, read_contents
from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.files.trees import open_source
from atlasae.jets.inputs import Part
from atlasae.report import some

_NAME = re.compile(r"(.+)\.part([0-9]+)(|\.[^.]*)", re.DOTALL)
Key = tuple[str, int, str]  # name, size and ROOT's UUID of the file that was split


def part_path(target: Path, number: int, parts: int) -> Path:
    """The path of a part of an output; all numbers have as many digits as the last, so that the names sort."""
    return target.with_name(f"{target.stem}.part{number:0{len(str(parts - 1))}}{target.suffix}")


def parts_in(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder with names of parts, by the name of the whole file, in the order of their numbers."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [(match, path) for path in files if (match := _NAME.fullmatch(path.name))]
    found: dict[str, list[Path]] = {}
    for match, path in sorted(named, key=lambda pair: int(pair[0][2])):
        found.setdefault(match[1] + match[3], []).append(path)
    return found


def number_of(path: Path) -> int:
    """The number in the name of a part."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[2])


def part_of(run: Run) -> Part | None:
    """The part of its source that a run compressed, or None for the whole; raises DamagedFileError if it is invalid."""
    if "part" not in run.source:
        return None
    try:
        (start, stop), (number, parts) = run.source["entries"], run.source["part"]
        return msgspec.convert({"start": start, "stop": stop, "number": number, "parts": parts}, Part)
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(f"which part of '{run.source.get('name')}' a run was made of is damaged") from error


def first_run(path: Path) -> Run | None:
    """The first run of a file, or None if it can't be read or is not a compressed file."""
    try:
        with open_source(path) as source:
            run = read_contents(source).runs[0]
        part_of(run)
        return run
    except (AtlasaeError, OSError):
        return None


def entries_of(runs: Sequence[Run]) -> tuple[int, int] | None:
    """The entries (start, stop) of their source that runs cover together, or None if they are not parts of one."""
    found = [part for run in runs if (part := part_of(run))]
    if len(found) < len(runs) or len({key_of(run) for run in runs}) > 1:
        return None
    return found[0].start, found[-1].stop


def key_of(run: Run) -> Key:
    """The name, size and UUID of the source of a run; the first files of format 1 have no UUID."""
    return run.source["name"], run.source["bytes"], run.source.get("uuid", "")


def in_order(files: Sequence[Contents]) -> list[int]:
    """The indices of files, with the parts of each source sorted; other files keep their positions."""
    order, places, numbers = list(range(len(files))), dict[Key, list[int]](), dict[int, int]()
    for place, contents in enumerate(files):
        if (part := part_of(contents.runs[0])) and entries_of(contents.runs):
            places.setdefault(key_of(contents.runs[0]), []).append(place)
            numbers[place] = part.number
    for found in places.values():
        ordered = sorted(found, key=numbers.__getitem__)
        for place, other in zip(found, ordered, strict=True):
            order[place] = other
    return order


def check_parts(what: str, runs: Sequence[Run], whole: bool = False) -> None:
    """Raise UserError unless the parts of each source are of one split, each once, in order and, if `whole`, all."""
    found: dict[Key, list[Part]] = {}
    for run in runs:
        if part := part_of(run):
            found.setdefault(key_of(run), []).append(part)
    uncut = {key_of(run)[:2] for run in runs if part_of(run) is None}
    for key, parts in found.items():
        problem = "in parts and whole" if key[:2] in uncut else _problem(parts, whole)
        if problem:
            raise UserError(f"{what} has '{key[0]}' {problem}: take each part of one split, once and in order")


def _problem(parts: Sequence[Part], whole: bool) -> str | None:
    """What is wrong with the parts of one source, or None."""
    numbers, splits = [part.number for part in parts], sorted({part.parts for part in parts})
    if len(splits) > 1:
        return f"cut into {' and into '.join(map(str, splits))} parts"
    if twice := {number for number in numbers if numbers.count(number) > 1}:
        return f"with part {min(twice)} of {splits[0]} twice"
    if numbers != sorted(numbers):
        return f"with its parts in the order {some(map(str, numbers))}"
    wanted = range(splits[0]) if whole else range(numbers[0], numbers[-1] + 1)
    if missing := [number for number in wanted if number not in numbers]:
        return f"without part {missing[0]} of {splits[0]}"
    if any(first.stop != second.start for first, second in pairwise(parts)):
        return "in parts that do not meet"
    return None
