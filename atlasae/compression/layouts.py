"""The layouts of compressed files, selected by their name in the configuration of the codec."""

import numpy as np

from atlasae.compression.collection import FileLayout
from atlasae.compression.format import CompressedCollection, Contents
from atlasae.compression.packed import PackedLayout
from atlasae.files.damage import FACTS, damage


def layout_named(name: str) -> type[FileLayout]:
    """The layout of this name; raises ValueError for an unknown one."""
    if name == "packed":
        return PackedLayout
    from atlasae.compression.floats import FLOATS_LAYOUTS  # here, as it imports torch: slow, and packed jets need none

    if name not in FLOATS_LAYOUTS:
        raise ValueError(f"layout '{name}' is unknown")
    return FLOATS_LAYOUTS[name]


def layout_kind(entry: CompressedCollection) -> type[FileLayout]:
    """The layout of a compressed collection; raises DamagedFileError if unknown or if its branches do not fit."""
    with damage(f"the codec of '{entry.collection.name}'", *FACTS):
        kind = layout_named(entry.codec["layout"])
        if kind.by_chunk != (entry.collection.layout == "packed"):
            raise ValueError(f"layout '{entry.codec['layout']}' of jets in {entry.collection.latents[0]}")
        return kind


def layout_of(entry: CompressedCollection, contents: Contents) -> FileLayout:
    """The layout of a compressed collection with its model; raises UserError for an unknown model, DamagedFileError."""
    layout, collection = (
        layout_kind(entry).from_config(entry, contents.models.get(entry.model_sha256)),
        entry.collection,
    )
    with damage(f"the codec of '{collection.name}'", *FACTS):
        layout.codec.padding.check([np.dtype(collection.dtypes[variable]) for variable in collection.variables])
    return layout
