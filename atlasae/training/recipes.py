"""Recipes: settings of a training, from a TOML file and from the command line."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from atlasae.codecs.bottleneck import ACTIVATIONS, Bottleneck
from atlasae.errors import UserError
from atlasae.files.remote import Named, local
from atlasae.training.loop import LOSSES, OPTIMISERS, SCHEDULES, Course

ARCHITECTURES = ("invertible", "mlp")

# Allowed words; numbers are checked for type and sign.
CHOICES = {
    "arch": ARCHITECTURES,
    "activation": tuple(ACTIVATIONS),
    "loss": tuple(LOSSES),
    "optimiser": tuple(OPTIMISERS),
    "schedule": SCHEDULES,
}
COURSES = {"invertible": Course(), "mlp": Course(steps=20_000, batch=2048, learning_rate=3e-3, validate_every=500)}
_LARGEST = 2.0**63  # numbers fit a signed 64-bit integer, as torch's seeds
_MOST_ROWS = 2**20  # in a batch: more would take gigabytes of memory
ZERO_ALLOWED = ("dropout", "weight_decay", "clip", "seed")


@dataclass(frozen=True)
class Recipe:
    """All settings of a training but its jets.

    A TOML file has the same keys: `arch`, `seed`, `loss`, `beta` (where smooth_l1 and huber become linear), `weights`
    (one per column, 1 unless given) and the tables `network` (of --arch mlp) and `course`.
    """

    arch: str = "invertible"
    seed: int = 1
    loss: str = "mse"
    beta: float = 1.0
    weights: tuple[float, ...] = ()
    network: Bottleneck = field(default_factory=Bottleneck)
    course: Course = field(default_factory=Course)


Filled = TypeVar("Filled", Recipe, Bottleneck, Course)


def read_recipe(
    path: Named | None = None, settings: Sequence[str] = (), arch: str | None = None, otherwise: str | None = None
) -> Recipe:
    """Read a recipe file, then `key=value` settings such as `course.steps=500`; raises UserError.

    `arch` overrides the recipe's; `otherwise` is used if the recipe has none.

    >>> atlasae.read_recipe(settings=["course.steps=500"], arch="mlp").course.steps
    500
    """
    facts = read_toml(local(path, "copy it here")) if path else {}
    for setting in settings:
        _merge(facts, _parse(setting.encode(), f"--set {setting}"))
    if arch or (otherwise and "arch" not in facts):
        facts["arch"] = arch or otherwise
    return make_recipe(facts, f"'{path}'" if path else "--set")


def make_recipe(facts: Mapping[str, Any], where: str) -> Recipe:
    """The recipe of a parsed TOML file; raises UserError for an unknown key or a wrong value."""
    plain = {key: value for key, value in facts.items() if key not in ("network", "course")}
    for table in ("network", "course"):
        if not isinstance(facts.get(table, {}), dict):
            raise UserError(f"{where}: {table} = {facts[table]!r} is no table: give its settings, {table}.name=value")
    network = _filled(Bottleneck(), facts.get("network", {}), where)
    recipe = _filled(Recipe(), plain, where)
    course = _filled(COURSES[recipe.arch], facts.get("course", {}), where)
    recipe = replace(recipe, network=network, course=course)
    _check_weights(recipe, where)
    return recipe


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises UserError."""
    if not path.is_file():
        raise UserError(f"no recipe '{path}': give a TOML file, such as those in scripts/recipes")
    return _parse(path.read_bytes(), f"'{path}'")


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f'{where} is no TOML: {error}; a word needs quotes, as in arch="mlp"') from error


def _merge(facts: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(facts.get(key, {}), dict):
            _merge(facts.setdefault(key, {}), value)
        else:
            facts[key] = value


def _filled(default: Filled, facts: Mapping[str, Any], where: str) -> Filled:
    """The defaults, updated with values that have the right types; raises UserError."""
    known = {f.name for f in fields(default)}
    for key, value in facts.items():
        if key not in known:
            raise UserError(f"{where}: no setting '{key}': there are {', '.join(sorted(known))}")
        _check_value(key, value, getattr(default, key), where)
    given: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    try:
        return replace(default, **given)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _check_value(key: str, value: Any, default: Any, where: str) -> None:
    if key in CHOICES and value not in CHOICES[key]:
        raise UserError(f"{where}: {key} '{value}' is none of {', '.join(CHOICES[key])}")
    alike = {tuple: (list,), float: (int, float)}.get(type(default), (type(default),))
    if type(value) not in alike:
        raise UserError(f"{where}: {key} = {value!r} is of another type than its default {default!r}")
    if type(value) in (int, float) and not (0 < value < _LARGEST or (value == 0 and key in ZERO_ALLOWED)):
        raise UserError(f"{where}: {key} = {value} makes no sense: give a positive number")
    if key == "batch" and value > _MOST_ROWS:
        raise UserError(f"{where}: batch = {value} is too many jets at once: give up to {_MOST_ROWS}")


def _check_weights(recipe: Recipe, where: str) -> None:
    numbers = all(type(weight) in (int, float) and 0 < weight < math.inf for weight in recipe.weights)
    if not numbers or len(recipe.weights) not in (0, len(recipe.network.columns)):
        raise UserError(f"{where}: weights = {list(recipe.weights)}: give a positive number for each of the columns")
