"""The commands: each parses its options, makes one library call and shows the report."""

import sys
from pathlib import Path
from typing import Any

import click

from atlasae import pages
from atlasae.commands import options
from atlasae.commands.options import IN, OUT, SETTINGS, UNITS
from atlasae.commands.running import completion_script, progress, run, several_outputs, show, show_many
from atlasae.errors import UserError
from atlasae.files.remote import Location
from atlasae.report import Report, markdown_text, to_json

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
@click.option("--tree", help="Tree to compress; default: the largest that holds jets.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="`Jet_{pt,eta,phi,mass}`, a prefix, or four names.")
@click.option("--variables", metavar="TOML", type=SETTINGS, help="Any list of branches, each with its precision.")
@click.option("--units", type=UNITS, help="Default: from names of branches, else from the values.")
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
    help="Format of OUT; ROOT's hadd merges TTrees alone.",
)
@click.option("--compression", metavar="ALGORITHM:LEVEL", help="For carried branches; default: as in IN.")
@click.option("--only-jets", is_flag=True, help="Leave out everything but jets.")
@click.option("--drop", multiple=True, metavar="GLOB", help="Leave these branches out.")
@click.option(
    "--drop-unwritable", is_flag=True, help="Leave out branches and objects that uproot can't write, and say so."
)
@click.option("--step-size", default="20MB", show_default=True, help="Uncompressed bytes per chunk.")
@click.option("--no-read-back", is_flag=True, help="Skip reading the output back and comparing it with IN.")
@options.force
@options.quiet
@options.as_json
@options.debug
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

    Many files (globs, too) go into FOLDER under their own names; finished outputs of an interrupted run are kept.
    """
    asked = _asked(precision, step_size, given)
    if output:
        from atlasae.batch.many import compress_files
        from atlasae.compression.plan import parse_size

        size = parse_size(given["split_size"], "--split-size") if given["split_size"] else None
        with several_outputs(), progress("compressing", quiet) as advance:
            report = compress_files(paths, output, asked, options.workers(given), advance, size)
        return show_many(report, as_json, quiet)
    from atlasae.compression.compress import compress_file

    path, target = options.in_and_out(paths, given)
    with progress("compressing", quiet) as advance:
        report = compress_file(path, target, asked, advance)
    show(report, as_json, quiet)
    return 0


def _asked(precision: str, step_size: str, given: dict[str, Any]) -> Any:
    """The `Options` of `compress`; raises UserError."""
    from atlasae.compression.plan import Options, parse_size
    from atlasae.jets.precision import Precision

    if given["no_context"] and given["layout"] != "packed":
        raise UserError("--no-context is for the packed layout: add --layout packed")
    return Options(
        precision=Precision.parse(precision),
        step_size=parse_size(step_size, "--step-size"),
        rntuple=given["file_format"] == "rntuple",
        packed=given["layout"] == "packed",
        context=not given["no_context"],
        read_back=not given["no_read_back"],
        **{
            key: given[key]
            for key in ("tree", "jets", "variables", "units", "model", "compression", "only_jets", "drop")
        },
        **{key: given[key] for key in ("drop_unwritable", "force")},
    )


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
    salvage: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Decompress the jets of IN, under their own names, into OUT (.root, .pkl or .parquet).

    Many files (globs, too) go into FOLDER, each under its own name.
    """
    if output:
        from atlasae.batch.many import RestoreOptions, decompress_files

        if given["trust"]:
            raise UserError("--trust is for one skim: give IN and OUT")
        asked = RestoreOptions(salvage, force)
        with several_outputs(), progress("decompressing", quiet) as advance:
            report = decompress_files(paths, output, asked, options.workers(given), advance)
        return show_many(report, as_json, quiet)
    from atlasae.compression.decompress import decompress_file

    path, target = options.in_and_out(paths, given)
    with progress("decompressing", quiet) as advance:
        report = decompress_file(path, target, force, advance, salvage, given["trust"])
    show(report, as_json, quiet)
    return 0


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option("--scheduler", required=True, type=click.Choice(["condor", "slurm"]))
@click.argument("name", metavar="COMMAND", type=click.Choice(["compress", "decompress", "verify"]))
@click.argument("arguments", metavar="ARGUMENTS...", nargs=-1, required=True, type=click.UNPROCESSED)
def batch(scheduler: str, name: str, arguments: tuple[str, ...]) -> None:
    """Print a submit file that runs COMMAND, with the options given, as one job for each of many files."""
    from atlasae.batch.many import expand, pair_up, verify_task
    from atlasae.batch.submit import batch_script

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


@commands.command()
@click.argument("path", metavar="FILE", type=IN)
@options.as_json
@options.debug
def info(path: Location, as_json: bool, debug: bool) -> None:
    """Show what FILE contains: collections, precision, model, bytes per jet."""
    from atlasae.compression.format import describe

    show(describe(path), as_json, False)


@commands.command()
@click.argument("paths", metavar="[ORIGINAL] COMPRESSED | ORIGINAL... FOLDER", nargs=-1, required=True, type=IN)
@options.on_many
@options.quiet
@options.as_json
@options.debug
def verify(paths: tuple[Location, ...], quiet: bool, as_json: bool, **given: Any) -> int:
    """Compare COMPRESSED with ORIGINAL: jets within their precision, all else bit for bit; exit 1 if not.

    Without ORIGINAL, check COMPRESSED by itself: all checksums, its models, and that it decodes; exit 3 if damaged.
    Many files are compared with those that `compress -o FOLDER` made of them.
    """
    if folder := options.folder_of(paths):
        from atlasae.batch.many import verify_files

        with progress("verifying", quiet) as advance:
            report = verify_files(paths[:-1], folder, options.workers(given), advance)
        return show_many(report, as_json, quiet)
    options.refuse_workers(given)
    from atlasae.compression.verify import check_file, verify_file

    if len(paths) > 2:
        raise UserError(
            f"verify takes ORIGINAL and COMPRESSED, COMPRESSED alone, or a folder last: {len(paths)} files were named"
        )
    with progress("verifying", quiet) as advance:
        report = verify_file(paths[0], paths[1], advance) if len(paths) == 2 else check_file(paths[0], advance)
    show(report, as_json, quiet)
    return 1 if report.get("differences") else 0


@commands.command()
@click.argument("paths", metavar="ORIGINAL COMPRESSED | ORIGINAL... FOLDER", nargs=-1, required=True, type=IN)
@options.on_many
@click.option("-o", "--output", metavar="REPORT", type=OUT, help="Write the whole report as JSON.")
@click.option("--histograms", metavar="OUT.root", type=OUT, help="Write the histograms into a ROOT file.")
@click.option("--jets", multiple=True, metavar="PATTERN", help="As for compress, if COMPRESSED is decompressed.")
@click.option("--units", type=UNITS, help="As for compress, if COMPRESSED is decompressed.")
@options.force
@options.quiet
@options.as_json
@options.debug
@several_outputs()
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
            from atlasae.batch.many import evaluate_many

            found = evaluate_many(paths[:-1], folder, options.workers(given), advance, jets, units)
        else:
            original, compressed = _pair(paths, given)
            found = evaluate_files(original, compressed, advance, jets, units)
    if output:
        with replacing(output, force) as temporary:
            temporary.write_text(to_json(found.report))
    if histograms:
        with replacing(histograms, force) as temporary:
            write_histograms(temporary, found.histograms)
    return show_many(found.report, as_json, quiet)


def _files_in(originals: tuple[Location, ...], folder: Path) -> list[Path]:
    """All local files that many originals and a folder may be read from."""
    from atlasae.batch.many import expand

    return [path for path in (*expand(originals), *folder.iterdir()) if isinstance(path, Path) and path.is_file()]


def _pair(paths: tuple[Location, ...], given: dict[str, Any]) -> tuple[Location, Location]:
    """The original and its compressed or decompressed file; raises UserError for more files."""
    if len(paths) == 1:
        raise click.UsageError("Missing argument 'COMPRESSED'")
    if len(paths) > 2:
        raise UserError(f"evaluate takes ORIGINAL and COMPRESSED, or a folder last: {len(paths)} files were named")
    options.refuse_workers(given)
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
def benchmark(path: Location, output: Path | None, force: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Measure bytes per jet against precision, compared with other methods, on the jets of IN."""
    from atlasae.reports.benchmark import benchmark_file

    if output:
        from atlasae.reports import figures

        figures.check_folder(output, force)
    with progress("measuring", quiet) as advance:
        report = benchmark_file(path, given["jets"], given["units"], given["model"], advance)
    if output:
        report["figures"] = figures.save_all(figures.benchmark_figures(report, options.label(given)), output, force)
    show(report, as_json, quiet)


@commands.command()
@click.argument("paths", metavar="ORIGINAL COMPRESSED | REPORT... | MODEL...", nargs=-1, required=True, type=IN)
@click.option("-o", "--output", required=True, metavar="FOLDER", type=OUT, help="Folder for the figures.")
@options.labelled
@options.force
@options.quiet
@options.as_json
@options.debug
@several_outputs()
def plot(paths: tuple[Location, ...], output: Path, force: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Draw an evaluation (of two files, or a report), compare several reports, or draw how models were trained."""
    from atlasae.reports import figures

    figures.check_folder(output, force)
    with progress("evaluating", quiet) as advance:
        written = figures.save_all(figures.figures_of(paths, options.label(given), advance), output, force)
    show(Report({"output": str(output), "figures": written}, pages.figures_page), as_json, quiet)


@commands.command()
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
def train(
    paths: tuple[Location, ...],
    output: Path | None,
    find_rate: Path | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a model on the jets of files, ROOT and tables; Ctrl-C keeps the best weights so far."""
    if given["arch"] == "tables":
        show(_count_tables(paths, output, force, find_rate, given), as_json, quiet)
        return
    from atlasae.codecs.model import load_model
    from atlasae.files.outputs import check_target
    from atlasae.training import train

    target = _model_or_plot(output, find_rate)
    start = load_model(given["start"]) if given["start"] else None
    recipe = _recipe(given, start)
    for path in (*paths, *(Path(given[key]) for key in ("config", "start") if given[key] not in (None, "default"))):
        check_target(path, target, force)
    if find_rate:
        show(_learning_rate(paths, recipe, given, start, find_rate, force), as_json, quiet)
        return
    told = {key: given[key] for key in ("jets", "units", "device")}
    with progress("training", quiet) as advance:
        report = train.train(paths, target, recipe, start=start, force=force, progress=advance, **told)
    show(report, as_json, quiet)


def _count_tables(
    paths: tuple[Location, ...], output: Path | None, force: bool, find_rate: Path | None, given: dict[str, Any]
) -> Report:
    """Make tables for `compress --layout packed`; returns the report."""
    from atlasae.training.tables import train_tables

    unset = {"--find-rate": find_rate, "--config": given["config"], "--set": given["settings"] or None}
    unset |= {"--from": given["start"], "--seed": given["seed"], "--device cuda": given["device"] == "cuda" or None}
    if wrong := [name for name, value in unset.items() if value is not None]:
        raise UserError(f"--arch tables counts jets, there is nothing to set: leave out {wrong[0]}")
    if output is None:
        raise UserError("no output for the tables: name it with -o MODEL")
    return train_tables(paths, output, given["jets"], given["units"], force)


def _model_or_plot(output: Path | None, find_rate: Path | None) -> Path:
    """The path that `train` writes; raises UserError unless exactly one is given."""
    if find_rate and output:
        raise UserError("-o MODEL or --find-rate PLOT, not both: the rate is looked for without training a model")
    target = find_rate or output
    if target is None:
        raise UserError("no output for the model: name it with -o MODEL, or look for a learning rate with --find-rate")
    return target


def _recipe(given: dict[str, Any], start: Any) -> Any:
    """The `Recipe` from the options of `train`; its default architecture is that of the model to continue from."""
    from atlasae.training.recipes import read_recipe

    settings = [*given["settings"], *([f"seed={given['seed']}"] if given["seed"] is not None else [])]
    architecture = start.facts["architecture"] if start else None
    return read_recipe(given["config"], settings, given["arch"], otherwise=architecture)


def _learning_rate(
    paths: tuple[Location, ...], recipe: Any, given: dict[str, Any], start: Any, plot: Path, force: bool
) -> Report:
    """Find the learning rate, and plot the loss against it; returns the report."""
    from atlasae.files.outputs import replacing
    from atlasae.reports import plotting
    from atlasae.training.train import learning_rates

    plotting.check_suffix(plot)
    rates, losses, chosen = learning_rates(paths, recipe, given["jets"], given["units"], start)
    with replacing(plot, force) as temporary:
        plotting.save(plotting.learning_rate_figure(rates, losses, chosen), temporary)
    facts = {"output": str(plot), "learning_rate": chosen, "rates": rates, "losses": losses}
    return Report(facts, pages.rate_page)


@commands.command("help")
@click.argument("topic", required=False)
def explain(topic: str | None) -> None:
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
def import_checkpoint(
    path: Path, recipe: Path, output: Path, force: bool, quiet: bool, as_json: bool, debug: bool
) -> None:
    """Make a model from a published torch checkpoint, without running its code."""
    from atlasae.files.outputs import check_target, write_kept
    from atlasae.training import checkpoints

    for read in (path, recipe):
        check_target(read, output, force)
    model = checkpoints.import_checkpoint(path, recipe)
    facts = write_kept(output, model, force)
    facts |= {key: model.facts[key] for key in ("architecture", "columns", "provenance")}
    show(Report(facts, pages.training_page), as_json, quiet)


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
    debug: bool,
) -> None:
    """Write the codec of a compressed FILE (or of a model file, or `default`) for programs without atlasae."""
    from atlasae.export.export import export_cpp, export_onnx

    if form is None:
        raise UserError("nothing to export to: say --cpp or --onnx")
    write = export_cpp if form == "cpp" else export_onnx
    show(write(source, output, jets, precision, force), as_json, quiet)
