"""The commands: parse, one library call, say where the file is."""

import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class, shell_complete

from atlasae import terminal
from atlasae.display import Report, harmless, to_text
from atlasae.errors import UserError, explain
from atlasae.remote import Location, Remote, local, located, masked

# Libraries that take long to import are imported by the command that needs them: `--help` and `info` answer at once.

_COMPLETE = "_ATLASAE_COMPLETE"  # what a shell sets when it asks how a line may go on
INTERRUPTED = 130  # what a shell reports for Ctrl-C

_Command = Callable[..., Any]


class _Input(click.Path):
    """A local path, or the URL of an input."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        place = located(value)
        return place if isinstance(place, Remote) else super().convert(place, parameter, context)


class _Local(click.Path):
    """A local path; a URL is refused, with what to do instead."""

    def __init__(self, instead: str) -> None:
        super().__init__(path_type=Path)
        self.instead = instead

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(local(value, self.instead), parameter, context)


_IN, _OUT, _SETTINGS = _Input(path_type=Path), _Local("write it here, and copy it there"), _Local("copy it here")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there.")
_quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_ARCH = "Default: that of the recipe, else invertible; `tables` are for `compress --layout packed`."
_force = click.option("--force", is_flag=True, help="Replace OUT if it exists.")
_debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")


def _with(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """A decorator that gives a command several options, in this order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


_output = click.option("-o", "--output", metavar="FOLDER", type=_OUT, help="Of many files: where the outputs go.")
_on_many = _with(
    click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Many files: processes.  [default: 1]"),
    click.option("--dask", metavar="ADDRESS", help="Many files: by dask workers there; `local`: by N made here."),
)


def _workers(given: dict[str, Any]) -> Any:
    from atlasae.distributed import Workers

    return Workers(given["workers"] or 1, given["dask"])


def _in_and_out(paths: tuple[Location, ...], given: dict[str, Any]) -> tuple[Location, Path]:
    """The two paths of a command on one file; raises click's errors, or UserError where many files are meant."""
    if len(paths) == 1:
        raise click.UsageError("Missing argument 'OUT', or -o FOLDER")
    if len(paths) > 2:
        raise UserError(f"IN and OUT, or many files and -o FOLDER: {len(paths)} were named without a folder")
    _refuse_workers(given)
    return paths[0], local(paths[1])


def _folder(paths: tuple[Location, ...]) -> Path | None:
    """The folder that a list of files ends with, if it does."""
    last = paths[-1]
    return last if len(paths) > 1 and isinstance(last, Path) and last.is_dir() else None


def _refuse_workers(given: dict[str, Any]) -> None:
    if wrong := [name for name in ("workers", "dask", "split_size") if given.get(name) is not None]:
        raise UserError(f"--{wrong[0].replace('_', '-')} is for many files and a folder: leave it out")


_labelled = _with(
    click.option("--label", "text", default="Internal", show_default=True, help="Status, behind the experiment."),
    click.option("--no-experiment-label", is_flag=True, help="Leave the name of the experiment out."),
    click.option("--energy", default="", metavar="TEV", help="Centre-of-mass energy to write on figures."),
    click.option("--luminosity", default="", metavar="IFB", help="Luminosity to write on figures."),
)


def _label(given: dict[str, Any]) -> Any:
    from atlasae.plotting import Label

    experiment = "" if given["no_experiment_label"] else "ATLAS"
    return Label(given["text"], experiment, given["energy"], given["luminosity"])


def main() -> None:
    """Run a command; an error is one line on stderr and an exit code (2: mend it, 3: damaged)."""
    signal.signal(signal.SIGTERM, _terminate)  # so that a batch system's kill leaves no temporary file
    try:
        if instruction := os.environ.get(_COMPLETE):
            sys.exit(shell_complete(commands, {}, "atlasae", _COMPLETE, instruction))
        # Not commands(): click's own main prints an empty line at Ctrl-C.
        with commands.make_context("atlasae", sys.argv[1:]) as context:
            code = commands.invoke(context)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        code = error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in sys.argv:
            click.echo(masked(traceback.format_exc()), err=True, nl=False)
        message, code = _explain(error)
        click.echo(harmless(f"atlasae: {message}".replace("\n", " ")), err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user of an error, and the exit code."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return f"interrupted: {str(error) or 'no output was left'}", INTERRUPTED
    if isinstance(error, click.ClickException):
        return error.format_message().rstrip("."), error.exit_code
    return explain(error)


def _show_versions(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(terminal.versions_text())
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_versions, help="Of this and libraries."
)
def commands() -> None:
    """Compress the jets of ROOT files into three floats each, every jet within a promised precision."""


@commands.command()
@click.argument("paths", metavar="IN OUT | IN... -o FOLDER", nargs=-1, required=True, type=_IN)
@_output
@_on_many
@click.option("--split-size", metavar="SIZE", help="Many files: cut those that are larger, such as 2GB, into parts.")
@click.option("--tree", help="Tree to compress; default: the largest that holds jets.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="`Jet_{pt,eta,phi,mass}`, a prefix, or four names.")
@click.option("--variables", metavar="TOML", type=_SETTINGS, help="Any list of branches, each with its precision.")
@click.option("--units", type=click.Choice(["MeV", "GeV"]), help="Default: from the collection, else the values.")
@click.option("--model", default="default", show_default=True, help="Model (or tables) file, packaged, or `self`.")
@click.option(
    "--precision", default="1e-3", show_default=True, help="`1e-3`, `pt=1e-3,eta=...,phi=...,m=...`, `full`, `none`."
)
@click.option(
    "--layout",
    type=click.Choice(["floats", "packed"]),
    default="floats",
    show_default=True,
    help="Three floats a jet, or fewer bytes that only atlasae reads.",
)
@click.option("--no-context", is_flag=True, help="Packed: code each jet by itself, whatever its event.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ttree", "rntuple"]),
    default="ttree",
    show_default=True,
    help="What to write; ROOT's hadd merges TTrees alone.",
)
@click.option("--compression", metavar="ALGORITHM:LEVEL", help="Of carried branches; default: as they were.")
@click.option("--only-jets", is_flag=True, help="Leave everything but jets out.")
@click.option("--drop", multiple=True, metavar="GLOB", help="Leave these branches out.")
@click.option("--drop-unwritable", is_flag=True, help="Leave out what uproot can't write, and say so.")
@click.option("--step-size", default="20MB", show_default=True, help="Uncompressed bytes worked on at once.")
@_force
@_quiet
@_json
@_debug
def compress(
    paths: tuple[Location, ...],
    output: Path | None,
    precision: str,
    step_size: str,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Compress the jets of IN (ROOT file or table) into three float32 branches a collection, or one of packed bytes.

    Many files (globs, too) go into FOLDER, each under its own name; what a run that was cut off has done is kept.
    """
    options = _options(precision, step_size, given)
    if output:
        from atlasae.many import compress_files
        from atlasae.planning import parse_size

        size = parse_size(given["split_size"], "--split-size") if given["split_size"] else None
        with _progress("compressing", quiet) as advance:
            report = compress_files(paths, output, options, _workers(given), advance, size)
        return _show_many(report, as_json, quiet)
    from atlasae.pipeline import compress_file

    path, target = _in_and_out(paths, given)
    with _progress("compressing", quiet) as advance:
        report = compress_file(path, target, options, advance)
    _show(report, as_json, quiet)
    return 0


def _options(precision: str, step_size: str, given: dict[str, Any]) -> Any:
    """What `compress` was told."""
    from atlasae.planning import Options, parse_size
    from atlasae.precision import Precision

    if given["no_context"] and given["layout"] != "packed":
        raise UserError("--no-context is of the packed layout: add --layout packed")
    return Options(
        precision=Precision.parse(precision),
        step_size=parse_size(step_size, "--step-size"),
        rntuple=given["file_format"] == "rntuple",
        packed=given["layout"] == "packed",
        context=not given["no_context"],
        **{
            key: given[key]
            for key in ("tree", "jets", "variables", "units", "model", "compression", "only_jets", "drop")
        },
        **{key: given[key] for key in ("drop_unwritable", "force")},
    )


@commands.command()
@click.argument("paths", metavar="IN OUT | IN... -o FOLDER", nargs=-1, required=True, type=_IN)
@_output
@_on_many
@click.option("--salvage", is_flag=True, help="Of a damaged file, bring back what is intact, and say what is not.")
@_force
@_quiet
@_json
@_debug
def decompress(
    paths: tuple[Location, ...],
    output: Path | None,
    salvage: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Bring the jets of IN back, under their own names, into OUT (.root, .pkl or .parquet).

    Many files (globs, too) go into FOLDER, each under its own name.
    """
    if output:
        from atlasae.many import Restoring, decompress_files

        options = Restoring(salvage, force)
        with _progress("decompressing", quiet) as advance:
            report = decompress_files(paths, output, options, _workers(given), advance)
        return _show_many(report, as_json, quiet)
    from atlasae.pipeline import decompress_file

    path, target = _in_and_out(paths, given)
    with _progress("decompressing", quiet) as advance:
        report = decompress_file(path, target, force, advance, salvage)
    _show(report, as_json, quiet)
    return 0


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option("--scheduler", required=True, type=click.Choice(["condor", "slurm"]))
@click.argument("name", metavar="COMMAND", type=click.Choice(["compress", "decompress", "verify"]))
@click.argument("arguments", metavar="ARGUMENTS...", nargs=-1, required=True, type=click.UNPROCESSED)
def batch(scheduler: str, name: str, arguments: tuple[str, ...]) -> None:
    """Print a submit file that runs COMMAND on many files, as a job each; options of COMMAND are given as ever."""
    from atlasae.batch import batch_script
    from atlasae.many import expand, pair_up, verify_task

    with commands.commands[name].make_context(name, list(arguments)) as context:
        paths, output = context.params["paths"], context.params.get("output")
        folder = output or (_folder(paths) if name == "verify" else None)
        if folder is None:
            raise UserError(f"batch {name} is for many files and a folder: `-o FOLDER`, or of verify the last one")
        files = expand(paths if output else paths[:-1])
        pair_up(verify_task, files, folder)  # refuses two of one name
        last = [] if output else [str(folder.absolute())]
        given = _given(context)
    program = str(Path(sys.argv[0]).absolute())
    click.echo(batch_script(scheduler, [program], [name, *given, "--"], last, files))


def _given(context: click.Context) -> list[str]:
    """The options of a command that were given, as they would be given again."""
    words = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if isinstance(option, click.Option) and source is click.core.ParameterSource.COMMANDLINE:
            value = context.params[option.name or ""]
            for one in value if option.multiple else [value]:
                words += [option.opts[-1]] if option.is_flag else [option.opts[-1], str(one)]
    return words


@commands.command()
@click.argument("path", metavar="FILE", type=_IN)
@_json
@_debug
def info(path: Path, as_json: bool, debug: bool) -> None:
    """Say what is inside FILE: collections, precision, model, bytes per jet."""
    from atlasae.container import describe

    _show(describe(path), as_json, False)


@commands.command()
@click.argument("paths", metavar="[ORIGINAL] COMPRESSED | ORIGINAL... FOLDER", nargs=-1, required=True, type=_IN)
@_on_many
@_quiet
@_json
@_debug
def verify(paths: tuple[Location, ...], quiet: bool, as_json: bool, **given: Any) -> int:
    """Compare COMPRESSED with ORIGINAL: jets within their precision, all else bit for bit; exit 1 if not.

    Without ORIGINAL, check COMPRESSED by itself: all checksums, its models, and that it decodes; exit 3 if damaged.
    Many files are compared with those that `compress -o FOLDER` made of them.
    """
    if folder := _folder(paths):
        from atlasae.many import verify_files

        with _progress("verifying", quiet) as advance:
            report = verify_files(paths[:-1], folder, _workers(given), advance)
        return _show_many(report, as_json, quiet)
    _refuse_workers(given)
    from atlasae.verification import check_file, verify_file

    if len(paths) > 2:
        raise UserError(
            f"verify takes ORIGINAL and COMPRESSED, COMPRESSED alone, or a folder last: {len(paths)} files were named"
        )
    with _progress("verifying", quiet) as advance:
        report = verify_file(paths[0], paths[1], advance) if len(paths) == 2 else check_file(paths[0], advance)
    _show(report, as_json, quiet)
    return 1 if report.get("differences") else 0


@commands.command()
@click.argument("paths", metavar="ORIGINAL COMPRESSED | ORIGINAL... FOLDER", nargs=-1, required=True, type=_IN)
@_on_many
@click.option("-o", "--output", metavar="REPORT", type=_OUT, help="Write the whole report as JSON.")
@click.option("--histograms", metavar="OUT.root", type=_OUT, help="Write the histograms into a ROOT file.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress, where COMPRESSED is decompressed.")
@click.option("--units", type=click.Choice(["MeV", "GeV"]), help="The same.")
@_force
@_quiet
@_json
@_debug
def evaluate(
    paths: tuple[Location, ...],
    output: Path | None,
    histograms: Path | None,
    jets: tuple[str, ...],
    units: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Measure what compression cost: residuals, response, dijets, and whether a classifier can tell.

    Many files with those of the same names in FOLDER are measured together.
    """
    from atlasae.evaluation import evaluate_files, write_histograms
    from atlasae.targets import check_target, replacing

    if output and histograms and output.absolute() == histograms.absolute():
        raise UserError(f"'{output}' can't be both the report and the histograms: name two files")
    folder = _folder(paths)
    for target in filter(None, (output, histograms)):
        for path in _files_in(paths[:-1], folder) if folder else paths:
            check_target(path, target, force, tables=True)
    with _progress("evaluating", quiet) as advance:
        if folder:
            from atlasae.many import evaluate_many

            found = evaluate_many(paths[:-1], folder, _workers(given), advance, jets, units)
        else:
            original, compressed = _pair(paths, given)
            found = evaluate_files(original, compressed, advance, jets, units)
    if output:
        with replacing(output) as temporary:
            temporary.write_text(json.dumps(_finite(found.report)))
    if histograms:
        with replacing(histograms) as temporary:
            write_histograms(temporary, found.histograms)
    return _show_many(found.report, as_json, quiet)


def _files_in(originals: tuple[Location, ...], folder: Path) -> list[Path]:
    """All on this machine that many originals and a folder may be read from."""
    from atlasae.many import expand

    return [path for path in (*expand(originals), *folder.iterdir()) if isinstance(path, Path) and path.is_file()]


def _pair(paths: tuple[Location, ...], given: dict[str, Any]) -> tuple[Location, Location]:
    """The one original and what became of it."""
    if len(paths) == 1:
        raise click.UsageError("Missing argument 'COMPRESSED'")
    if len(paths) > 2:
        raise UserError(f"evaluate takes ORIGINAL and COMPRESSED, or a folder last: {len(paths)} files were named")
    _refuse_workers(given)
    return paths[0], paths[1]


@commands.command()
@click.argument("path", metavar="IN", type=_IN)
@click.option("-o", "--output", metavar="FOLDER", type=_OUT, help="Draw it: where the figure goes.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress.")
@click.option("--units", type=click.Choice(["MeV", "GeV"]), help="As for compress.")
@click.option("--model", default="default", show_default=True, help="As for compress.")
@_labelled
@_force
@_quiet
@_json
@_debug
def benchmark(path: Path, output: Path | None, force: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Measure bytes per jet against precision, beside what people use today, on the jets of IN."""
    from atlasae.benchmark import benchmark_file

    if output:
        from atlasae import figures

        figures.check_folder(output, force)
    with _progress("measuring", quiet) as advance:
        report = benchmark_file(path, given["jets"], given["units"], given["model"], advance)
    if output:
        report["figures"] = figures.save_all(figures.benchmark_figures(report, _label(given)), output)
    _show(report, as_json, quiet)


@commands.command()
@click.argument("paths", metavar="ORIGINAL COMPRESSED | REPORT... | MODEL...", nargs=-1, required=True, type=_IN)
@click.option("-o", "--output", required=True, metavar="FOLDER", type=_OUT, help="Where the figures go.")
@_labelled
@_force
@_quiet
@_json
@_debug
def plot(paths: tuple[Location, ...], output: Path, force: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Draw an evaluation (of two files, or a report), compare several reports, or draw how models were trained."""
    from atlasae import figures

    figures.check_folder(output, force)
    with _progress("evaluating", quiet) as advance:
        written = figures.save_all(figures.figures_of(paths, _label(given), advance), output)
    _show(Report({"output": str(output), "figures": written}, terminal.figures_page), as_json, quiet)


@commands.command()
@click.argument("paths", metavar="IN...", nargs=-1, required=True, type=_IN)
@click.option("-o", "--output", metavar="MODEL", type=_OUT, help="The model file to write.")
@click.option("--find-rate", metavar="PLOT", type=_OUT, help="Only look for the learning rate, and plot it.")
@click.option("--arch", type=click.Choice(["invertible", "mlp", "tables"]), help=_ARCH)
@click.option("--config", metavar="FILE", type=_SETTINGS, help="Recipe (TOML), such as those in scripts/recipes.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as `course.steps=500`; as in TOML.")
@click.option("--from", "start", metavar="MODEL", help="Go on from this model; `default` is the packaged one.")
@click.option("--seed", type=int, help="Of the split and of the training.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress.")
@click.option("--units", type=click.Choice(["MeV", "GeV"]), help="As for compress.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@_force
@_quiet
@_json
@_debug
def train(
    paths: tuple[Location, ...],
    output: Path | None,
    find_rate: Path | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a model on the jets of files, ROOT and tables; Ctrl-C keeps the best so far."""
    if given["arch"] == "tables":
        _show(_count_tables(paths, output, force, find_rate, given), as_json, quiet)
        return
    from atlasae import learning
    from atlasae.model import load_model
    from atlasae.recipes import read_recipe
    from atlasae.targets import check_target

    if find_rate and output:
        raise UserError("-o MODEL or --find-rate PLOT, not both: the rate is looked for without training a model")
    target = find_rate or output
    if target is None:
        raise UserError("no place for the model: name it with -o MODEL, or look for the learning rate with --find-rate")
    settings = [*given["settings"], *([f"seed={given['seed']}"] if given["seed"] is not None else [])]
    start = load_model(given["start"]) if given["start"] else None
    recipe = read_recipe(
        given["config"], settings, given["arch"], otherwise=start.facts["architecture"] if start else None
    )
    for path in (*paths, *(Path(given[key]) for key in ("config", "start") if given[key] not in (None, "default"))):
        check_target(path, target, force)
    if find_rate:
        _show(_learning_rate(paths, recipe, given, start, find_rate), as_json, quiet)
        return
    told = {key: given[key] for key in ("jets", "units", "device")}
    with _progress("training", quiet) as advance:
        report = learning.train(paths, target, recipe, start=start, force=force, progress=advance, **told)
    _show(report, as_json, quiet)


def _count_tables(
    paths: tuple[Location, ...], output: Path | None, force: bool, find_rate: Path | None, given: dict[str, Any]
) -> Report:
    """Make tables for `compress --layout packed`; returns the report."""
    from atlasae.counting import train_tables

    unset = {"--find-rate": find_rate, "--config": given["config"], "--set": given["settings"] or None}
    unset |= {"--from": given["start"], "--seed": given["seed"], "--device cuda": given["device"] == "cuda" or None}
    if wrong := [name for name, value in unset.items() if value is not None]:
        raise UserError(f"--arch tables counts jets, there is nothing to set: leave out {wrong[0]}")
    if output is None:
        raise UserError("no place for the tables: name it with -o MODEL")
    return train_tables(paths, output, given["jets"], given["units"], force)


@commands.command("import-checkpoint")
@click.argument("path", metavar="FILE", type=_SETTINGS)
@click.option("--recipe", required=True, metavar="TOML", type=_SETTINGS, help="Layers, columns and constants of FILE.")
@click.option("-o", "--output", required=True, metavar="MODEL", type=_OUT, help="The model file to write.")
@_force
@_quiet
@_json
@_debug
def import_checkpoint(
    path: Path, recipe: Path, output: Path, force: bool, quiet: bool, as_json: bool, debug: bool
) -> None:
    """Make a model of a published torch checkpoint, without running its code."""
    from atlasae import checkpoints
    from atlasae.targets import check_target, replacing

    for read in (path, recipe):
        check_target(read, output, force)
    model = checkpoints.import_checkpoint(path, recipe)
    with replacing(output) as temporary:
        temporary.write_bytes(model.content)
    facts = {"output": str(output), "sha256": model.sha256, "bytes": len(model.content)}
    facts |= {key: model.facts[key] for key in ("architecture", "columns", "provenance")}
    _show(Report(facts, terminal.training_page), as_json, quiet)


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete atlasae's commands and options: `eval "$(atlasae completion bash)"`."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(commands, {}, "atlasae", _COMPLETE).source())


@commands.command()
@click.argument("source", metavar="MODEL|FILE")
@click.option("--cpp", "form", flag_value="cpp", help="A C++ header, which needs no library: for RDataFrame.")
@click.option("--onnx", "form", flag_value="onnx", help="Two ONNX graphs, encoder.onnx and decoder.onnx.")
@click.option("-o", "--output", required=True, metavar="PATH", type=_OUT, help="The header, or the graphs' folder.")
@click.option("--jets", metavar="NAME", help="Of a file with several collections: which.")
@click.option("--precision", help="Of a model: what its grid is to keep; default: 1e-3, on jets drawn from it.")
@_force
@_quiet
@_json
@_debug
def export(
    source: str,
    form: str | None,
    output: Path,
    jets: str | None,
    precision: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Write the codec of a compressed FILE (or of a model file, or `default`) for programs without atlasae."""
    from atlasae.export import export_cpp, export_onnx

    if form is None:
        raise UserError("nothing to export to: say --cpp or --onnx")
    write = export_cpp if form == "cpp" else export_onnx
    _show(write(source, output, jets, precision, force), as_json, quiet)


def _learning_rate(paths: tuple[Location, ...], recipe: Any, given: dict[str, Any], start: Any, plot: Path) -> Report:
    from atlasae import plotting
    from atlasae.learning import learning_rates
    from atlasae.targets import replacing

    plotting.check_suffix(plot)
    rates, losses, chosen = learning_rates(paths, recipe, given["jets"], given["units"], start)
    with replacing(plot) as temporary:
        plotting.save(plotting.learning_rates(rates, losses, chosen), temporary)
    facts = {"output": str(plot), "learning_rate": chosen, "rates": rates, "losses": losses}
    return Report(facts, terminal.rate_page)


def _show(report: Report, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps(_finite(report)))
    elif not quiet:
        click.echo(to_text(report.page, sys.stdout.isatty()))


def _show_many(report: Report, as_json: bool, quiet: bool) -> int:
    """Show what became of many files, those that failed on stderr; returns the exit code."""
    _show(report, as_json, quiet)
    for file in report.get("files", ()):
        if file["error"] is not None:
            click.echo(harmless(f"atlasae: {terminal.failure_line(file)}"), err=True)
    return 1 if report.get("failed") else 0


def _finite(value: Any) -> Any:
    """JSON knows no infinity: an error without end is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _progress(what: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, only on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _terminate(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
