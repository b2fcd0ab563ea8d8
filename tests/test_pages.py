"""What several commands say in the same words."""

from atlasae.pages import left_out_lines
from atlasae.report import LeftOut


def test_what_was_left_out_is_listed_by_reason():
    things = [
        LeftOut("'a'", "odd"),
        LeftOut("weight of tree 't'", "no words for it", minor=True),
        LeftOut("'b'", "odd"),
    ]
    assert left_out_lines(things) == [
        "'a', 'b' are left out: odd",
        "weight of tree 't' is left out: no words for it",
    ]
