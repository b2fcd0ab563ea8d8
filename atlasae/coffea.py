"""Compressed files as NanoEvents of coffea."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import uuid4

import awkward as ak
import numpy as np

from atlasae.compression.tree import CompressedTree, Filter, open
from atlasae.errors import UserError
from atlasae.files.remote import Named


def events(
    paths: Named | Sequence[Named],
    *,
    schema: Any = None,
    filter_name: Filter = None,
    entry_start: int | None = None,
    entry_stop: int | None = None,
    trust: Named | None = None,
    tree: str | None = None,
) -> Any:
    """The NanoEvents of a compressed file, or of its parts, with the branches of numbers that pass a filter.

    `schema` is a class of `coffea.nanoevents`, by default NanoAODSchema. coffea reads all these branches at once, for
    entries [entry_start, entry_stop). Raises UserError without coffea, and as `atlasae.open`, whose `trust` and
    `tree` it takes.
    """
    try:
        nanoevents = import_module("coffea.nanoevents")
        preloaded = import_module("coffea.nanoevents.mapping.preloaded")
    except ImportError:
        raise UserError("NanoEvents need coffea (2026.9.0 was tried): pip install coffea") from None
    with open(paths, trust, tree=tree) as opened:
        dtypes = opened.dtypes(filter_name=filter_name)
        columns = {name: CoffeaColumn(opened, name, dtype) for name, dtype in dtypes.items()}
        source = preloaded.SimplePreloadedColumnSource(columns, str(uuid4()), opened.num_entries, opened.name)
        factory = nanoevents.NanoEventsFactory.from_preloaded(
            source,
            entry_start=entry_start,
            entry_stop=entry_stop,
            schemaclass=schema or nanoevents.NanoAODSchema,
        )
        return factory.events()


@dataclass(frozen=True)
class CoffeaColumn:
    """A branch as coffea asks for it: the form of its array, and ranges of entries."""

    tree: CompressedTree
    name: str
    dtype: str

    @property
    def layout(self) -> ak.contents.Content:
        """An array without entries, of the form that the branch has."""
        number, _, jagged = self.dtype.partition("[")
        content = ak.contents.NumpyArray(np.empty(0, number))
        return ak.contents.ListOffsetArray(ak.index.Index64([0]), content) if jagged else content

    def __getitem__(self, entries: slice) -> ak.Array:
        """The values of these entries, in the byte order of the machine and one after another."""
        array = ak.values_astype(self.tree[self.name][entries], np.dtype(self.dtype.partition("[")[0]))
        return ak.to_packed(array)
