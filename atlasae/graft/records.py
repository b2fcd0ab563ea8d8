"""The records of a ROOT file: its header, keys, folders and lists of keys, read and written.

Format: https://root.cern/doc/master/classTFile.html. Numbers are big-endian; positions take 4 bytes, or 8 in "big"
headers, keys and folders (version + 1000, of the file + 1,000,000), needed beyond 2 GB.
"""

import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from atlasae.files.trees import Source

Read = Callable[[int, int], bytes]  # the bytes [start, stop) of a file

BIG = 1000  # added to the version of a key or a folder whose positions take 8 bytes
KEY_SIZE_AT = 14  # where a key has its own size
_BIG_FILE = 1_000_000
START_BIG = 2_000_000_000  # kStartBigFile: the end of a file from which its header is big
_HEAD, _FOLDERS = 512, ("TDirectory", "TDirectoryFile")
_KEY = struct.Struct(">ihiIhh")
_DEEPEST = 100  # folders inside folders; more are damage
_NAMED = 4096  # bytes of a key that are read first


@dataclass(frozen=True)
class RecordKey:
    """The header of a record: sizes, time, cycle, position of the record and of its folder, class, name and title."""

    nbytes: int
    version: int
    objlen: int
    datime: int
    keylen: int
    cycle: int
    seek: int
    folder: int
    kind: bytes
    name: bytes
    title: bytes

    @property
    def path_name(self) -> str:
        """The name as text."""
        return self.name.decode(errors="surrogateescape")

    @property
    def class_name(self) -> str:
        """The class as text."""
        return self.kind.decode(errors="replace")

    @property
    def is_compressed(self) -> bool:
        """Whether what follows the header is compressed."""
        return self.nbytes - self.keylen != self.objlen

    def holding(self, size: int, packed: int, more: int = 0) -> "RecordKey":
        """The same key with `more` bytes of its own, and `size` bytes behind it, in `packed`."""
        keylen = self.keylen + more
        return replace(self, objlen=size, keylen=keylen, nbytes=keylen + packed)

    def pack(self) -> bytes:
        """The bytes of the header."""
        places = struct.pack(">qq" if self.version > BIG else ">ii", self.seek, self.folder)
        head = _KEY.pack(self.nbytes, self.version, self.objlen, self.datime, self.keylen, self.cycle)
        return head + places + b"".join(map(pack_string, (self.kind, self.name, self.title)))


def pack_string(text: bytes) -> bytes:
    """A string as ROOT writes it: its length in one byte, or in four behind 255."""
    return (bytes([len(text)]) if len(text) < 255 else b"\xff" + struct.pack(">i", len(text))) + text


def unpack_string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string, and the position behind it; raises ValueError where the bytes end before."""
    size, at = (data[at], at + 1) if at < len(data) else (0, at + 1)
    if size == 255:
        size, at = struct.unpack_from(">i", data, at)[0], at + 4
    if size < 0 or at + size > len(data):
        raise ValueError(f"a string of {size} bytes is longer than what holds it")
    return data[at : at + size], at + size


def unpack_key(data: bytes, at: int = 0) -> tuple[RecordKey, int]:
    """The key at a position, and the position behind its strings; raises ValueError for bytes that are none."""
    try:
        head = _KEY.unpack_from(data, at)
        big = head[1] > BIG
        seek, folder = struct.unpack_from(">qq" if big else ">ii", data, at + _KEY.size)
        end = at + _KEY.size + (16 if big else 8)
        kind, end = unpack_string(data, end)
        name, end = unpack_string(data, end)
        title, end = unpack_string(data, end)
    except struct.error as error:
        raise ValueError("a key is longer than what holds it") from error
    if head[0] < head[4] or head[4] < end - at or head[2] < 0:
        raise ValueError(f"a key of {head[4]} bytes in a record of {head[0]}")
    nbytes, version, objlen, datime, keylen, cycle = head
    return RecordKey(nbytes, version, objlen, datime, keylen, cycle, seek, folder, kind, name, title), end


def read_key(read: Read, at: int, end: int) -> RecordKey:
    """The key at a position of a file that ends at `end`."""
    if not 0 < at < end:
        raise ValueError(f"a record at {at}, where the file ends at {end}")
    data = read(at, min(end, at + _NAMED))
    try:
        return unpack_key(data)[0]
    except ValueError:
        if len(data) < _NAMED:
            raise
        return unpack_key(read(at, min(end, at + _KEY.unpack_from(data)[4])))[0]


@dataclass(frozen=True)
class Head:
    """The header of a file."""

    version: int
    begin: int
    end: int
    seek_free: int
    nbytes_free: int
    nfree: int
    nbytes_name: int
    units: int
    compress: int
    seek_info: int
    nbytes_info: int
    uuid: bytes

    def pack(self) -> bytes:
        """The bytes of the header; positions take 8 bytes beyond 2 GB."""
        big = self.end > START_BIG
        version = self.version % _BIG_FILE + _BIG_FILE * big
        form = ">4siiqqiiiBiqi" if big else ">4siiiiiiiBiii"
        numbers = (self.begin, self.end, self.seek_free, self.nbytes_free, self.nfree, self.nbytes_name)
        more = (8 if big else 4, self.compress, self.seek_info, self.nbytes_info)
        return (struct.pack(form, b"root", version, *numbers, *more) + self.uuid).ljust(self.begin, b"\0")


def _read_head(data: bytes) -> Head:
    version = struct.unpack_from(">i", data, 4)[0]
    form = ">iqqiiiBiqi" if version >= _BIG_FILE else ">iiiiiiBiii"
    begin, end, *others = struct.unpack_from(form, data, 8)
    after = 8 + struct.calcsize(form)
    seek_free, nbytes_free, nfree, nbytes_name, units, compress, seek_info, nbytes_info = others
    names = (seek_free, nbytes_free, nfree, nbytes_name)
    return Head(version, begin, end, *names, units, compress, seek_info, nbytes_info, data[after : after + 18])


@dataclass
class Folder:
    """A folder: its key (that of the file for the outermost), its own facts, the keys in it and its folders by key."""

    key: RecordKey
    version: int
    created: int
    changed: int
    nbytes_name: int
    parent: int
    uuid: bytes
    keys: list[RecordKey] = field(default_factory=list)
    folders: dict[int, "Folder"] = field(default_factory=dict)  # by position

    @property
    def at(self) -> int:
        """The position of the folder's record."""
        return self.key.seek

    def walk(self, path: str = "") -> Iterator[tuple[str, "Folder"]]:
        """The folder and all folders in it, with their paths, which end in a slash but for the outermost."""
        yield path, self
        for folder in self.folders.values():
            yield from folder.walk(f"{path}{folder.key.path_name}/")

    def pack(self, seek_keys: int, nbytes_keys: int) -> bytes:
        """The folder's facts with the position and size of its list of keys."""
        big = max(seek_keys, self.at, self.parent) > START_BIG or self.version > BIG
        version = self.version % BIG + BIG * big
        head = struct.pack(">hIIii", version, self.created, self.changed, nbytes_keys, self.nbytes_name)
        return head + struct.pack(">qqq" if big else ">iii", self.at, self.parent, seek_keys) + self.uuid


class Records:
    """The records of an open file, found by following its header, folders and lists of keys."""

    def __init__(self, read: Read, size: int) -> None:
        """Read header and folders; raises ValueError for positions and sizes that do not fit the file."""
        self.read = read
        try:
            self.head = _read_head(read(0, _HEAD))
            if not 0 < self.head.begin < self.head.end <= size:
                raise ValueError(f"it says that it begins at {self.head.begin} and ends at {self.head.end} of {size}")
            self._seen: set[int] = set()
            self.root = self._folder(read_key(read, self.head.begin, self.head.end), self.head.nbytes_name, 0)
        except struct.error as error:
            raise ValueError("its header or a folder ends early") from error

    def payload(self, key: RecordKey) -> bytes:
        """What follows a key in its record, as it is in the file."""
        self._check(key)
        return self.read(key.seek + key.keylen, key.seek + key.nbytes)

    def leave_out(self, name: str) -> None:
        """Leave a folder of the outermost one out."""
        gone = {at for at, folder in self.root.folders.items() if folder.key.path_name == name}
        self.root.folders = {at: folder for at, folder in self.root.folders.items() if at not in gone}
        self.root.keys = [key for key in self.root.keys if key.seek not in gone]

    def leave_only(self, wanted: Sequence[RecordKey]) -> None:
        """Leave all out but some records and the folders that they are in."""
        _leave_only(self.root, {id(key) for key in wanted})

    def _check(self, key: RecordKey) -> None:
        if key.seek <= 0 or key.seek + key.nbytes > self.head.end:
            raise ValueError(f"'{key.path_name}' is said to be at {key.seek}, with {key.nbytes} bytes")

    def _folder(self, key: RecordKey, name_size: int, depth: int) -> Folder:
        if key.seek in self._seen or depth > _DEEPEST:
            raise ValueError(f"folder '{key.path_name}' is inside itself")
        self._seen.add(key.seek)
        self._check(key)
        data = self.read(key.seek + name_size, key.seek + key.nbytes)
        version, created, changed, nbytes_keys, nbytes_name = struct.unpack_from(">hIIii", data)
        big = version > BIG
        at, parent, seek_keys = struct.unpack_from(">qqq" if big else ">iii", data, 18)
        if at != key.seek:
            raise ValueError(f"folder '{key.path_name}' at {key.seek} is said to be at {at}")
        uuid = data[18 + (24 if big else 12) :]
        folder = Folder(key, version, created, changed, nbytes_name, parent, uuid)
        folder.keys = self._keys(seek_keys, nbytes_keys) if seek_keys else []
        for inner in folder.keys:
            if inner.class_name in _FOLDERS:
                folder.folders[inner.seek] = self._folder(inner, inner.keylen, depth + 1)
        return folder

    def _keys(self, at: int, nbytes: int) -> list[RecordKey]:
        listed = read_key(self.read, at, self.head.end)
        if listed.nbytes != nbytes:
            raise ValueError(f"a list of keys of {listed.nbytes} bytes, which its folder says to have {nbytes}")
        data = self.payload(replace(listed, seek=at))
        number, place = struct.unpack_from(">i", data)[0], 4
        found = []
        if not 0 <= number <= len(data):
            raise ValueError(f"a list of {number} keys")
        for _ in range(number):
            key, place = unpack_key(data, place)
            self._check(key)
            found.append(key)
        return found


def records_of(source: Source) -> Records:
    """The records of a file that uproot has open; raises as `Records`."""
    return Records(source.read, source.path.stat().st_size)


def _leave_only(folder: Folder, wanted: Collection[int]) -> bool:
    """Leave all out of a folder but records of these ids and the folders they are in; returns whether any is there."""
    folder.folders = {at: inner for at, inner in folder.folders.items() if _leave_only(inner, wanted)}
    folder.keys = [key for key in folder.keys if id(key) in wanted or key.seek in folder.folders]
    return bool(folder.keys)


def pack_keys(folder: Folder) -> bytes:
    """What follows the key in the record of a folder's list of keys."""
    return struct.pack(">i", len(folder.keys)) + b"".join(key.pack() for key in folder.keys)


def new_key(kind: bytes, name: bytes, title: bytes, at: int, folder: int, datime: int, big: bool = False) -> RecordKey:
    """The key of a new record at a position, without what follows it; `big` where it is so in any case."""
    big = big or at > START_BIG - (1 << 20) or folder > START_BIG
    keylen = _KEY.size + (16 if big else 8) + sum(len(pack_string(text)) for text in (kind, name, title))
    return RecordKey(keylen, 4 + BIG * big, 0, datime, keylen, 1, at, folder, kind, name, title)
