"""The events of tables whose rows are jets, by which training splits them."""

import numpy as np
from conftest import jet_columns

from atlasae.files.events import ArrayEvents
from atlasae.jets.inputs import INDEX, event_numbers, find_in


def numbers_of(columns: dict[str, np.ndarray]) -> np.ndarray:
    events = ArrayEvents(columns)
    (collection,) = find_in(events, "the table", ())
    return event_numbers(events, collection)


def test_rows_without_numbers_are_events_by_falling_pt():
    columns = jet_columns("flat", 6) | {"pt": np.array([9, 8, 7, 8, 3, 5], np.float32) * 1e4}
    assert numbers_of(columns).tolist() == [0, 0, 0, 1, 1, 2]


def test_shuffled_rows_are_never_taken_for_more_events():
    columns, truth = jet_columns("flat", 40), np.arange(40) // 4
    order = np.lexsort((-columns["pt"], truth))  # in falling pt
    ordered = {name: values[order] for name, values in columns.items()}
    shuffled = np.random.default_rng(3).permutation(40)
    found = numbers_of({name: values[shuffled] for name, values in ordered.items()} | {INDEX: shuffled})
    together, apart = found[:, None] == found[None], truth[shuffled][:, None] != truth[shuffled][None]
    assert (together | apart).all()
    assert len(np.unique(found)) > 1
