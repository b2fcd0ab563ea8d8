"""Options and arguments that several commands share, and checks of their combinations."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from atlasae import pages
from atlasae.errors import UserError
from atlasae.files.remote import Location, Remote, local, located
from atlasae.jets.collections import MEV_PER_UNIT

_Command = Callable[..., Any]


class _Input(click.Path):
    """A local path, or the URL of an input."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        location = located(value)
        return location if isinstance(location, Remote) else super().convert(location, parameter, context)


class _Local(click.Path):
    """A local path; a URL is refused, with advice."""

    def __init__(self, instead: str) -> None:
        super().__init__(path_type=Path)
        self.instead = instead

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(local(value, self.instead), parameter, context)


def _several(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """A decorator that adds several options to a command, in this order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def _show_versions(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(pages.versions_text())
        context.exit()


UNITS = click.Choice(list(MEV_PER_UNIT))
IN, OUT, SETTINGS = _Input(path_type=Path), _Local("write it here, and copy it there"), _Local("copy it here")

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."
)
quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
force = click.option("--force", is_flag=True, help="Replace OUT if it exists.")
debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")

output = click.option("-o", "--output", metavar="FOLDER", type=OUT, help="Many files: folder for the outputs.")
on_many = _several(
    click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Many files: processes.  [default: 1]"),
    click.option("--dask", metavar="ADDRESS", help="Many files: dask scheduler; `local`: N workers made here."),
)
labelled = _several(
    click.option(
        "--experiment",
        type=click.Choice(["ATLAS", "CMS", "LHCb", "none"], case_sensitive=False),
        default="none",
        show_default=True,
        metavar="ATLAS|CMS|LHCb|none",
        help="The experiment's name on figures; their style is that of ATLAS.",
    ),
    click.option("--label", "text", help="Status, such as `Work in progress`.  [default: Internal, of an experiment]"),
    click.option("--energy", default="", metavar="TEV", help="Centre-of-mass energy to write on figures."),
    click.option("--luminosity", default="", metavar="IFB", help="Luminosity to write on figures."),
)
version = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_versions, help="Show all versions."
)


def make_workers(workers: int | None, dask: str | None) -> Any:
    """The `Workers` that the options ask for."""
    from atlasae.commands.workers import Workers

    return Workers(workers or 1, dask)


def make_label(experiment: str, text: str | None, energy: str, luminosity: str) -> Any:
    """The `Label` that the options describe; a name without status would be that of a published figure.

    Raises UserError.
    """
    from atlasae.reports.panels import Label
    from atlasae.reports.plotting import check_label

    name = "" if experiment == "none" else experiment
    status = "Internal" if name else ""
    asked = Label(status if text is None else text, name, energy, luminosity)
    check_label(asked)
    return asked


def in_and_out(paths: tuple[Location, ...], **of_many: object) -> tuple[Location, Path]:
    """The two paths of a command on one file; raises click's errors, or UserError for more than two."""
    if len(paths) == 1:
        raise click.UsageError("Missing argument 'OUT', or -o FOLDER")
    if len(paths) > 2:
        raise UserError(f"IN and OUT, or many files and -o FOLDER: {len(paths)} were named without a folder")
    refuse_many(**of_many)
    return paths[0], local(paths[1])


def only_in(paths: tuple[Location, ...], output: Path | None) -> Location:
    """The input of a command that writes nothing; raises UserError for many."""
    if output or len(paths) > 2:
        raise UserError("--dry-run is for one file: give IN")
    return paths[0]


def folder_of(paths: tuple[Location, ...]) -> Path | None:
    """The last path, if it is a folder after other paths; else None."""
    last = paths[-1]
    return last if len(paths) > 1 and isinstance(last, Path) and last.is_dir() else None


def refuse_many(**of_many: object) -> None:
    """Raise UserError for options of many files in a command on one file."""
    if wrong := [name for name, value in of_many.items() if value is not None]:
        raise UserError(f"--{wrong[0].replace('_', '-')} is for many files and a folder: leave it out")


def words_given(context: click.Context) -> list[str]:
    """The options given on the command line, as words to give again."""
    words = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if isinstance(option, click.Option) and source is click.core.ParameterSource.COMMANDLINE:
            value: Any = context.params.get(option.name or "")
            for one in value if option.multiple else [value]:
                words += [option.opts[-1]] if option.is_flag else [option.opts[-1], str(one)]
    return words
