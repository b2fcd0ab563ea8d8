"""Options that several commands share: their order, values and combinations."""

from importlib.metadata import version
from pathlib import Path

import awkward as ak
import click
import pytest
import uproot
from conftest import run_main

from atlasae.commands import options
from atlasae.errors import UserError
from atlasae.files.remote import Remote

FAR = "https://example.org/far.root"
ONE = {"workers": None, "dask": None, "split_size": None}


@click.command()
@click.argument("path", type=options.IN)
@options.output
@options.on_many
@options.labelled
@options.force
def command(**given: object) -> None:
    """A command for this test."""


def test_options_stand_in_the_order_they_are_given_in():
    names = [option.opts[-1] for option in command.params if isinstance(option, click.Option)]
    labels = ["--experiment", "--label", "--energy", "--luminosity"]
    assert names == ["--output", "--workers", "--dask", *labels, "--force"]


def test_options_are_given_again_as_they_were():
    given = ["--output", "out", "--workers", "2", "--label", "Work in progress", "--force"]
    with command.make_context("command", ["--force", *given[:-1], "in.root"]) as context:
        assert options.words_given(context) == given
    with command.make_context("command", ["in.root"]) as context:
        assert options.words_given(context) == []


def test_inputs_alone_may_be_elsewhere(tmp_path):
    with command.make_context("command", [FAR]) as context:
        assert context.params["path"] == Remote(FAR)
    with command.make_context("command", [f"file://{tmp_path}/in.root"]) as context:
        assert context.params["path"] == tmp_path / "in.root"
    with pytest.raises(UserError, match="write it here, and copy it there"):
        command.make_context("command", ["in.root", "-o", FAR])
    with pytest.raises(UserError, match="copy it here"):
        options.SETTINGS.convert(FAR, None, None)


def test_a_list_of_files_may_end_with_a_folder(tmp_path):
    path = tmp_path / "in.root"
    assert options.folder_of((path, tmp_path)) == tmp_path
    assert options.folder_of((path, path)) is None
    assert options.folder_of((tmp_path,)) is None
    assert options.folder_of((path, Remote(FAR))) is None


def test_one_file_has_one_output_and_nobody_to_share_the_work():
    path, out = Path("in.root"), Path("out.root")
    assert options.in_and_out((path, out), **ONE) == (path, out)
    with pytest.raises(click.UsageError, match="OUT"):
        options.in_and_out((path,), **ONE)
    with pytest.raises(UserError, match="3 were named without a folder"):
        options.in_and_out((path, path, out), **ONE)
    for name, option in (("workers", "--workers"), ("split_size", "--split-size")):
        with pytest.raises(UserError, match=f"{option} is for many files"):
            options.in_and_out((path, out), **ONE | {name: 1})


def test_version_names_the_libraries():
    found = run_main("--version")
    lines = [line.split() for line in found.out.splitlines()]
    assert found.code == 0 and lines[0] == ["atlasae", version("atlasae")]
    assert ["uproot", uproot.__version__] in lines and ["awkward", ak.__version__] in lines
