"""The commands: each parses its options, makes one library call and shows the report."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from atlasae.commands import options
from atlasae.commands.options import IN, OUT, SETTINGS, UNITS
from atlasae.commands.running import completion_script, progress, run, several_outputs, show, show_many
from atlasae.errors import UserError
from atlasae.files.remote import Location
from atlasae.report import Report, markdown_text

# Slow imports are inside the commands that need them, so that `--help` and `info` answer at once.


def main() -> None:
    """The entry point of `atlasae`."""
    run(commands)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@options.version
def commands() -> None:
    """Compress the jets of ROOT files into three floats each, every jet within a promised precision."""


@commands.command()
@click.argument("paths", metavar="IN OUT | IN... -o FOLDER", nargs=-1, required=True, type=IN)
@options.output
@options.on_many
@click.option(
    "--split-size",
    metavar="SIZE",
    help="Many files: cut ROOT files that are larger, such as 2GB, into parts; tables stay whole.",
)
@click.option("--tree", help="Tree to compress; default: all that hold jets.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="`Jet_{pt,eta,phi,mass}`, a prefix, or four names.")
@click.option(
    "--objects",
    type=click.Choice(["jets", "all"]),
    default="jets",
    show_default=True,
    help="All four-momenta: electrons, muons, photons, taus, large-R jets, generator particles, too.",
)
@click.option("--variables", metavar="TOML", type=SETTINGS, help="Any list of branches, each with its precision.")
@click.option("--units", type=UNITS, help="Default: from names of branches, else from the values.")
@click.option("--model", default="default", show_default=True, help="Model (or tables) file, packaged, or `self`.")
@click.option(
    "--whole-jets",
    is_flag=False,
    flag_value="*",
    metavar="[NAME]",
    help="Pack all other numbers of the jets, too (behind IN and OUT; of this collection, or of all).",
)
@click.option(
    "--precision",
    default="1e-3",
    show_default=True,
    help="`1e-3`, `resolution/20`, `pt=1e-3,eta=...,phi=...,m=...`, `full`, `none`.",
)
@click.option("--resolution", default="atlas", show_default=True, help="`atlas`, `cms`, or `cms,m=N:S:C`.")
@click.option(
    "--layout",
    type=click.Choice(["floats", "packed"]),
    default="floats",
    show_default=True,
    help="Three floats a jet, or fewer bytes that only atlasae reads.",
)
@click.option("--no-dither", is_flag=True, help="Equal jets decode alike; fine bins of spectra then show a comb.")
@click.option("--no-context", is_flag=True, help="Packed: code each jet by itself, whatever its event.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ttree", "rntuple"]),
    help="Format of OUT; by default that of IN, and a TTree for packed jets.",
)
@click.option("--compression", metavar="ALGORITHM:LEVEL", help="For carried branches; default: as in IN.")
@click.option("--only-jets", is_flag=True, help="Leave out everything but jets.")
@click.option("--drop", multiple=True, metavar="GLOB", help="Leave these branches out.")
@click.option(
    "--drop-unwritable", is_flag=True, help="Leave out branches and objects that uproot can't write, and say so."
)
@click.option("--rewrite", is_flag=True, help="Write everything anew, also what could be copied byte for byte.")
@click.option("--step-size", default="10MB", show_default=True, help="Uncompressed bytes per chunk.")
@click.option("--dry-run", is_flag=True, help="Only tell what would become of every branch of IN.")
@click.option("--no-read-back", is_flag=True, help="Skip reading the output back and comparing it with IN.")
@options.force
@click.option("--verbose", is_flag=True, help="Show all notes, and what they say of each collection.")
@options.quiet
@options.as_json
@options.debug
def compress(
    paths: tuple[Location, ...],
    output: Path | None,
    workers: int | None,
    dask: str | None,
    split_size: str | None,
    whole_jets: str | None,
    precision: str,
    resolution: str,
    layout: str,
    no_dither: bool,
    no_context: bool,
    jets: tuple[str, ...],
    objects: str,
    file_format: str | None,
    step_size: str,
    no_read_back: bool,
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
    **asked: Any,
) -> int:
    """Compress the jets of IN (ROOT file or table) into three float32 branches a collection, or one of packed bytes.

    Many files (globs, too) go into FOLDER under their own names; finished outputs of an interrupted run are kept.
    """
    from atlasae.compression.plan import Options, parse_size
    from atlasae.jets.precision import Precision

    if no_context and layout != "packed":
        raise UserError("--no-context is for the packed layout: add --layout packed")
    if whole_jets and Path(whole_jets).is_file():
        raise UserError(
            f"--whole-jets '{whole_jets}' is a file: give the option behind IN and OUT, or name a collection"
        )
    if objects == "all" and jets:
        raise UserError("--objects all takes all four-momenta: leave out --jets")
    chosen = Options.of_words({
        "jets": ("*",) if objects == "all" else jets,
        "precision": Precision.parse(precision, resolution),
        "whole_jets": tuple(name.strip() for name in whole_jets.split(",")) if whole_jets else (),
        "step_size": parse_size(step_size, "--step-size"),
        "layout": layout,
        "format": file_format,
        "no_context": no_context,
        "no_dither": no_dither,
        "no_read_back": no_read_back,
        **asked,  # whose names are those of the fields
    })  # fmt: skip
    if dry_run:
        from atlasae.compression.compress import plan_file

        show(plan_file(options.only_in(paths, output), chosen), as_json, quiet)
        return 0
    if output:
        from atlasae.commands.many import compress_files

        size = parse_size(split_size, "--split-size") if split_size else None
        with several_outputs(), progress("compressing", quiet) as advance:
            many = compress_files(paths, output, chosen, options.make_workers(workers, dask), advance, size)
        return show_many(many, as_json, quiet, verbose)
    from atlasae.compression.compress import compress_file
    from atlasae.native.library import limit_heap

    limit_heap()
    path, target = options.in_and_out(paths, workers=workers, dask=dask, split_size=split_size)
    with progress("compressing", quiet) as advance:
        report = compress_file(path, target, chosen, advance)
    show(report, as_json, quiet, verbose)
    return 0


@commands.command()
@click.argument("paths", metavar="IN OUT | IN... -o FOLDER", nargs=-1, required=True, type=IN)
@options.output
@options.on_many
@click.option("--salvage", is_flag=True, help="Decompress what is intact of a damaged file, and report the rest.")
@click.option(
    "--trust",
    metavar="FULL",
    type=IN,
    help="For a skim: the compressed file it was made from; the skim's checksums can't be checked.",
)
@options.force
@options.quiet
@options.as_json
@options.debug
def decompress(
    paths: tuple[Location, ...],
    output: Path | None,
    workers: int | None,
    dask: str | None,
    salvage: bool,
    trust: Location | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Decompress the jets of IN, under their own names, into OUT (.root, .pkl or .parquet).

    Many files (globs, too) go into FOLDER, each under its own name.
    """
    if output:
        from atlasae.commands.many import RestoreOptions, decompress_files

        if trust:
            raise UserError("--trust is for one skim: give IN and OUT")
        asked = RestoreOptions(salvage, force)
        with several_outputs(), progress("decompressing", quiet) as advance:
            many = decompress_files(paths, output, asked, options.make_workers(workers, dask), advance)
        return show_many(many, as_json, quiet)
    from atlasae.compression.decompress import decompress_file
    from atlasae.native.library import limit_heap

    limit_heap()
    path, target = options.in_and_out(paths, workers=workers, dask=dask)
    with progress("decompressing", quiet) as advance:
        report = decompress_file(path, target, force, advance, salvage, trust)
    show(report, as_json, quiet)
    return 0


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option("--scheduler", required=True, type=click.Choice(["condor", "slurm"]))
@click.argument("name", metavar="COMMAND", type=click.Choice(["compress", "decompress", "verify"]))
@click.argument("arguments", metavar="ARGUMENTS...", nargs=-1, required=True, type=click.UNPROCESSED)
def batch(scheduler: str, name: str, arguments: tuple[str, ...]) -> None:
    """Print a submit file that runs COMMAND, with the options given, as one job for each of many files."""
    from atlasae.commands.many import expand, pair_up, verify_task
    from atlasae.commands.submit import batch_script

    with commands.commands[name].make_context(name, list(arguments)) as context:
        paths, output = context.params["paths"], context.params.get("output")
        folder = output or (options.folder_of(paths) if name == "verify" else None)
        if folder is None:
            raise UserError(f"batch {name} is for many files and a folder: `-o FOLDER`, or of verify the last one")
        files = expand(paths if output else paths[:-1])
        pair_up(verify_task, files, folder)  # raises UserError for two with the same name
        last = [] if output else [str(folder.absolute())]
        given = options.words_given(context)
    program = str(Path(sys.argv[0]).absolute())
    click.echo(batch_script(scheduler, [program], [name, *given, "--"], last, files))


@commands.command("info")
@click.argument("path", metavar="FILE", type=IN)
@options.as_json
@options.debug
def show_info(path: Location, as_json: bool) -> None:
    """Show what FILE contains: collections, precision, model, bytes per jet."""
    from atlasae.commands.later import put_off

    put_off("awkward")  # half of the time in which uproot is imported
    from atlasae.reports.description import info

    show(info(path), as_json, False)


@commands.command()
@click.argument("paths", metavar="[ORIGINAL] COMPRESSED | ORIGINAL... FOLDER", nargs=-1, required=True, type=IN)
@options.on_many
@options.quiet
@options.as_json
@options.debug
def verify(paths: tuple[Location, ...], workers: int | None, dask: str | None, quiet: bool, as_json: bool) -> int:
    """Compare COMPRESSED with ORIGINAL: jets within their precision, all else bit for bit; exit 1 if not.

    Without ORIGINAL, check COMPRESSED by itself: all checksums, its models, and that it decodes; exit 3 if damaged.
    Many files are compared with those that `compress -o FOLDER` made of them.
    """
    if folder := options.folder_of(paths):
        from atlasae.commands.many import verify_files

        with progress("verifying", quiet) as advance:
            many = verify_files(paths[:-1], folder, options.make_workers(workers, dask), advance)
        return show_many(many, as_json, quiet)
    options.refuse_many(workers=workers, dask=dask)
    from atlasae.compression.verify import check_file, verify_file
    from atlasae.native.library import limit_heap

    if len(paths) > 2:
        raise UserError(
            f"verify takes ORIGINAL and COMPRESSED, COMPRESSED alone, or a folder last: {len(paths)} files were named"
        )
    limit_heap()
    with progress("verifying", quiet) as advance:
        report = verify_file(paths[0], paths[1], advance) if len(paths) == 2 else check_file(paths[0], advance)
    show(report, as_json, quiet)
    return 1 if report.get("differences") else 0


@commands.command("evaluate")
@click.argument("paths", metavar="ORIGINAL COMPRESSED | ORIGINAL... FOLDER", nargs=-1, required=True, type=IN)
@options.on_many
@click.option("-o", "--output", metavar="REPORT", type=OUT, help="Write the whole report as JSON.")
@click.option("--histograms", metavar="OUT.root", type=OUT, help="Write the histograms into a ROOT file.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress, if COMPRESSED is decompressed.")
@click.option("--event-column", metavar="NAME", help="Where rows are jets: the column with the number of their event.")
@click.option("--units", type=UNITS, help="As for compress, if COMPRESSED is decompressed.")
@options.force
@options.quiet
@options.as_json
@options.debug
@several_outputs()
def show_evaluation(
    paths: tuple[Location, ...],
    workers: int | None,
    dask: str | None,
    output: Path | None,
    histograms: Path | None,
    jets: tuple[str, ...],
    event_column: str | None,
    units: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Measure what compression cost: residuals, response, dijets, and a classifier that tries to see the difference.

    Many files are measured together, each against the file of its name in FOLDER.
    """
    from atlasae.files.outputs import check_target, replacing
    from atlasae.reports.evaluation import evaluate_files, write_histograms

    if output and histograms and output.absolute() == histograms.absolute():
        raise UserError(f"'{output}' can't be both the report and the histograms: name two files")
    folder = options.folder_of(paths)
    for target in filter(None, (output, histograms)):
        for path in _files_in(paths[:-1], folder) if folder else paths:
            check_target(path, target, force, tables=True)
    with progress("evaluating", quiet) as advance:
        if folder:
            from atlasae.commands.many import evaluate_many

            made = options.make_workers(workers, dask)
            found = evaluate_many(paths[:-1], folder, made, advance, jets, units, event_column)
        else:
            options.refuse_many(workers=workers, dask=dask)
            original, compressed = _pair(paths)
            found = evaluate_files(original, compressed, advance, jets, units, event_column=event_column)
    if output:
        with replacing(output, force) as temporary:
            temporary.write_text(found.report.to_json())
    if histograms:
        with replacing(histograms, force) as temporary:
            write_histograms(temporary, found.histograms)
    return show_many(found.report, as_json, quiet)


def _files_in(originals: tuple[Location, ...], folder: Path) -> list[Path]:
    """All local files that many originals and a folder may be read from."""
    from atlasae.commands.many import expand

    return [path for path in (*expand(originals), *folder.iterdir()) if isinstance(path, Path) and path.is_file()]


def _pair(paths: tuple[Location, ...]) -> tuple[Location, Location]:
    """The original and its compressed or decompressed file; raises UserError for more files."""
    if len(paths) == 1:
        raise click.UsageError("Missing argument 'COMPRESSED'")
    if len(paths) > 2:
        raise UserError(f"evaluate takes ORIGINAL and COMPRESSED, or a folder last: {len(paths)} files were named")
    return paths[0], paths[1]


@commands.command()
@click.argument("path", metavar="IN", type=IN)
@click.option("-o", "--output", metavar="FOLDER", type=OUT, help="Draw the result; folder for the figure.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress.")
@click.option("--units", type=UNITS, help="As for compress.")
@click.option("--model", default="default", show_default=True, help="As for compress.")
@options.labelled
@options.force
@options.quiet
@options.as_json
@options.debug
@several_outputs()
def benchmark(
    path: Location,
    output: Path | None,
    jets: tuple[str, ...],
    units: str | None,
    model: str,
    force: bool,
    quiet: bool,
    as_json: bool,
    **label: Any,
) -> None:
    """Measure bytes per jet against precision, compared with other methods, on the jets of IN."""
    from atlasae.reports.benchmark import benchmark_file

    if output:
        from atlasae.reports import figures

        figures.check_folder(output, force)
    with progress("measuring", quiet) as advance:
        report = benchmark_file(path, jets, units, model, advance)
    if output:
        drawn = figures.drawn(figures.benchmark_figures(report, options.make_label(**label)))
        report = replace(report, figures=figures.save_all(drawn, output, "benchmark.pdf", force))
    show(report, as_json, quiet)


@commands.command("plot")
@click.argument("paths", metavar="ORIGINAL COMPRESSED | REPORT... | MODEL...", nargs=-1, required=True, type=IN)
@click.option("-o", "--output", metavar="FOLDER", type=OUT, help="Folder for the figures: PNG, and a PDF of all.")
@click.option("--html", metavar="PAGE", type=OUT, help="Write one HTML page with all figures and tables.")
@click.option(
    "--only",
    metavar="KINDS",
    help="Some of overview, spectra, fine, residuals, resolution, response, correlation, events, latents, with commas "
    "between.",
)
@click.option("--jets", multiple=True, metavar="NAME", help="Collections to draw, or `*`.  [default: the main one]")
@options.labelled
@options.force
@options.quiet
@options.as_json
@options.debug
@several_outputs()
def draw(
    paths: tuple[Location, ...],
    output: Path | None,
    html: Path | None,
    only: str | None,
    jets: tuple[str, ...],
    force: bool,
    quiet: bool,
    as_json: bool,
    **label: Any,
) -> None:
    """Draw an evaluation (of two files, or a report), compare several reports, or draw how models were trained."""
    from atlasae.files.outputs import replacing
    from atlasae.reports import document, figures
    from atlasae.reports.results import FiguresReport

    _check_outputs(paths, output, html, force)
    choice = figures.Choice(tuple(only.split(",")) if only else (), jets)
    with progress("evaluating", quiet) as advance:
        found, report = figures.figures_of(paths, options.make_label(**label), advance, choice)
        drawn = list(figures.drawn(found))
    written = figures.save_all(drawn, output, "figures.pdf", force) if output else []
    if html and drawn:
        command = shlex.join(["atlasae", *sys.argv[1:]])
        with replacing(html, force) as temporary:
            temporary.write_text(document.html_page(drawn, report, choice, list(map(str, paths)), command))
    where = {name: str(path) for name, path in (("output", output), ("html", html if drawn else None)) if path}
    show(FiguresReport(figures=written, drawn=len(drawn), **where), as_json, quiet)


def _check_outputs(paths: tuple[Location, ...], output: Path | None, html: Path | None, force: bool) -> None:
    """Raise UserError without any output of `plot`, or for one that would replace something."""
    from atlasae.files.outputs import check_target
    from atlasae.reports import figures

    if not (output or html):
        raise UserError("nowhere to draw to: give a folder with -o FOLDER, or one page with --html PAGE")
    if output:
        figures.check_folder(output, force)
    if html:
        for path in paths:
            check_target(path, html, force)


@commands.command("train")
@click.argument("paths", metavar="IN...", nargs=-1, required=True, type=IN)
@click.option("-o", "--output", metavar="MODEL", type=OUT, help="The model file to write.")
@click.option("--find-rate", metavar="PLOT", type=OUT, help="Only look for the learning rate, and plot it.")
@click.option(
    "--arch",
    type=click.Choice(["invertible", "mlp", "tables"]),
    help="Default: from the recipe, else invertible; `tables` are for `compress --layout packed`.",
)
@click.option("--config", metavar="FILE", type=SETTINGS, help="Recipe (TOML), such as those in scripts/recipes.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as `course.steps=500`; as in TOML.")
@click.option("--from", "start", metavar="MODEL", help="Continue from this model; `default` is the packaged one.")
@click.option("--seed", type=int, help="Of the split and of the training.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress.")
@click.option("--units", type=UNITS, help="As for compress.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@options.force
@options.quiet
@options.as_json
@options.debug
def train_model(
    paths: tuple[Location, ...],
    output: Path | None,
    find_rate: Path | None,
    arch: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    start: str | None,
    seed: int | None,
    jets: tuple[str, ...],
    units: str | None,
    device: str,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a model on the jets of files, ROOT and tables; Ctrl-C keeps the best weights so far."""
    if arch == "tables":
        unset: dict[str, object] = {"--find-rate": find_rate, "--config": config, "--set": settings or None}
        unset |= {"--from": start, "--seed": seed, "--device cuda": device == "cuda" or None}
        show(_count_tables(paths, output, jets, units, force, unset), as_json, quiet)
        return
    from atlasae.codecs.model import load_model
    from atlasae.files.outputs import check_target
    from atlasae.training.recipes import read_recipe
    from atlasae.training.train import train as train_model

    target = _model_or_plot(output, find_rate)
    model = load_model(start) if start else None
    settings += () if seed is None else (f"seed={seed}",)
    recipe = read_recipe(config, settings, arch, otherwise=model.facts["architecture"] if model else None)
    for path in (*paths, *filter(None, [config, Path(start) if start and start != "default" else None])):
        check_target(path, target, force)
    if find_rate:
        show(_learning_rate(paths, recipe, jets, units, model, find_rate, force), as_json, quiet)
        return
    with progress("training", quiet) as advance:
        report = train_model(
            paths, target, recipe, jets=jets, units=units, start=model, device=device, force=force, progress=advance
        )
    show(report, as_json, quiet)


def _count_tables(
    paths: tuple[Location, ...],
    output: Path | None,
    jets: tuple[str, ...],
    units: str | None,
    force: bool,
    unset: Mapping[str, object],
) -> Report:
    """Make tables for `compress --layout packed`; returns the report."""
    from atlasae.training.tables import train_tables

    if wrong := [name for name, value in unset.items() if value is not None]:
        raise UserError(f"--arch tables counts jets, there is nothing to set: leave out {wrong[0]}")
    if output is None:
        raise UserError("no output for the tables: name it with -o MODEL")
    return train_tables(paths, output, jets, units, force)


def _model_or_plot(output: Path | None, find_rate: Path | None) -> Path:
    """The path that `train` writes; raises UserError unless exactly one is given."""
    if find_rate and output:
        raise UserError("-o MODEL or --find-rate PLOT, not both: the rate is looked for without training a model")
    target = find_rate or output
    if target is None:
        raise UserError("no output for the model: name it with -o MODEL, or look for a learning rate with --find-rate")
    return target


def _learning_rate(
    paths: tuple[Location, ...],
    recipe: Any,
    jets: tuple[str, ...],
    units: str | None,
    start: Any,
    plot: Path,
    force: bool,
) -> Report:
    """Find the learning rate, and plot the loss against it; returns the report."""
    from atlasae.files.outputs import replacing
    from atlasae.reports import plotting
    from atlasae.training.results import RateReport
    from atlasae.training.train import learning_rates

    plotting.check_suffix(plot)
    rates, losses, chosen = learning_rates(paths, recipe, jets, units, start)
    with replacing(plot, force) as temporary:
        plotting.save(plotting.learning_rate_figure(rates, losses, chosen), temporary)
    return RateReport(output=str(plot), learning_rate=chosen, rates=rates, losses=losses)


@commands.command("help")
@click.argument("topic", required=False)
def show_topic(topic: str | None) -> None:
    """Show the page on TOPIC, or the list of topics."""
    from atlasae.commands.topics import list_of_topics, topic_text

    if topic is not None:
        click.echo(markdown_text(topic_text(topic), sys.stdout.isatty()))
    else:
        click.echo(list_of_topics())


@commands.command("import-checkpoint")
@click.argument("path", metavar="FILE", type=SETTINGS)
@click.option("--recipe", required=True, metavar="TOML", type=SETTINGS, help="Layers, columns and constants of FILE.")
@click.option("-o", "--output", required=True, metavar="MODEL", type=OUT, help="The model file to write.")
@options.force
@options.quiet
@options.as_json
@options.debug
def import_model(path: Path, recipe: Path, output: Path, force: bool, quiet: bool, as_json: bool) -> None:
    """Make a model from a published torch checkpoint, without running its code."""
    from atlasae.files.outputs import check_target, write_kept
    from atlasae.training import checkpoints
    from atlasae.training.results import TrainingReport

    for read in (path, recipe):
        check_target(read, output, force)
    model = checkpoints.import_checkpoint(path, recipe)
    facts = {key: model.facts[key] for key in ("architecture", "columns", "provenance")}
    show(TrainingReport(**write_kept(output, model, force), **facts), as_json, quiet)


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes atlasae's commands in SHELL: `eval "$(atlasae completion bash)"`."""
    click.echo(completion_script(commands, shell))


@commands.command()
@click.argument("source", metavar="MODEL|FILE")
@click.option("--cpp", "form", flag_value="cpp", help="A C++ header without dependencies, for RDataFrame.")
@click.option("--onnx", "form", flag_value="onnx", help="Two ONNX graphs, encoder.onnx and decoder.onnx.")
@click.option("-o", "--output", required=True, metavar="PATH", type=OUT, help="The header, or the graphs' folder.")
@click.option("--jets", metavar="NAME", help="The collection, if FILE has several.")
@click.option("--precision", help="For a model: the bounds of its grid; default: 1e-3, on jets drawn from it.")
@options.force
@options.quiet
@options.as_json
@options.debug
@several_outputs()
def export(
    source: str,
    form: str | None,
    output: Path,
    jets: str | None,
    precision: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the codec of a compressed FILE (or of a model file, or `default`) for programs without atlasae."""
    from atlasae.export.export import export_cpp, export_onnx

    if form is None:
        raise UserError("nothing to export to: say --cpp or --onnx")
    write = export_cpp if form == "cpp" else export_onnx
    show(write(source, output, jets, precision, force), as_json, quiet)
