"""The streamer infos of ROOT files: what a file lacks of those of others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from atlasae.errors import UserError
from atlasae.files.writing import RECORDS, pack_blocks
from atlasae.graft.buffers import Thing, read_thing, write_thing
from atlasae.graft.records import RecordKey, Records, new_key, read_key
from atlasae.graft.trees import payload_of

_LIST = b"TList"
_SIZE = 0x3FFFFFFF  # of the number in front of an object, the bits that tell its bytes


def merged_streamers(records: Records, others: Sequence[Records], at: int) -> tuple[bytes, int]:
    """What follows the key of a file's streamer infos at a position, and its bytes uncompressed; 0 for none.

    The infos of a file stay as they are, byte for byte, if it lacks none of the others, or if they can't be read.
    """
    keylen = new_key(_LIST, b"StreamerInfo", b"Doubly linked list", at, 0, 0).keylen
    key = _key_of(records)
    infos = streamers_of(records) if others or (key and key.keylen != keylen) else None
    known = {_name_of(info) for info in _infos(infos)}
    unique = {_name_of(info): info for other in others for info in _infos(streamers_of(other))}
    unique = {name: info for name, info in unique.items() if name not in known}
    if key and key.keylen == keylen and (infos is None or not unique):
        return records.payload(key), key.objlen
    if infos is None and not unique:
        return b"", 0
    infos = infos or _empty()
    place = len(list(_infos(infos)))  # rules follow
    infos.items[place:place] = unique.values()
    infos.options[place:place] = [b""] * len(unique)
    data = write_thing(infos, keylen)
    return pack_blocks(data, RECORDS), len(data)


def _key_of(records: Records) -> RecordKey | None:
    """The key of a file's streamer infos, if it has some."""
    if not records.head.seek_info or not records.head.nbytes_info:
        return None
    key = read_key(records.read, records.head.seek_info, records.head.end)
    return replace(key, seek=records.head.seek_info)


def streamers_of(records: Records) -> Thing | None:
    """The list of a file's streamer infos, if it has one that can be read: ROOT and uproot do without."""
    try:
        key = _key_of(records)
        if key is None:
            return None
        data = payload_of(records, key)
        size = (int.from_bytes(data[:4], "big") & _SIZE) + 4
        return read_thing(data if any(data[size:]) else data[:size], "TList", key.keylen)  # uproot leaves room behind
    except (ValueError, UserError):
        return None


def _infos(infos: Thing | None) -> Iterator[Thing]:
    for info in infos.items if infos else ():
        if info is not None and info.kind == "TStreamerInfo":
            yield info


def trees_among(infos: Thing | None) -> set[str]:
    """The classes that are made from TTree, and TTree, by name."""
    bases = {info.name: _bases(info) for info in _infos(infos)}
    found, before = {"TTree"}, set[str]()
    while found != before:
        before, found = found, found | {name for name, those in bases.items() if those & found}
    return found


def _bases(info: Thing) -> set[str]:
    elements = info["fElements"]
    return (
        {one.name for one in elements.items if one is not None and one.kind == "TStreamerBase"} if elements else set()
    )


def _name_of(info: Thing) -> tuple[str, int]:
    return info.name, info["fClassVersion"]


def _empty() -> Thing:
    return Thing("TList", 5, {"TObject": Thing("TObject", rest=b"\0\1" + bytes(8)), "fName": b""})
