"""Remote inputs by URL: the one door to fsspec and its drivers for root://, https:// and s3://."""

import atexit
import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

from atlasae.errors import AtlasaeError, UnreachableError, UserError

SILENCE = 30  # seconds without an answer before a server is given up
CONNECTING = 10  # seconds to wait for a connection
_BLOCK = 32_768  # bytes: metadata is read and cached in blocks of this size
WEB = ("http", "https")
NOT_FOUND, FORBIDDEN = 3011, 3010  # XRootD's codes for 404 and 403
# Per scheme, the package that reads it and the extra of atlasae that installs it.
EXTRAS = {
    **dict.fromkeys(WEB, ("aiohttp", "http")),
    "root": ("fsspec-xrootd", "xrootd"),
    "s3": ("s3fs", "s3"),
}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Metadata, if the store gives them, that change with the file.
_VERSION = ("ETag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "mtime", "created")


@dataclass(frozen=True)
class RemoteFacts:
    """Metadata of a remote file: its size, named as in `os.stat_result`, and a text that changes with the file."""

    st_size: int
    version: str


@dataclass(frozen=True, repr=False)
class Remote:
    """A remote file with the methods of `Path` that inputs need; `str` omits credentials and query strings.

    All errors in reaching it are UnreachableErrors: only bytes that arrived can be damaged.
    """

    url: str

    def __str__(self) -> str:
        return f"{self._split.scheme}://{self._split.netloc.rpartition('@')[2]}{self._split.path}"

    def __repr__(self) -> str:
        return f"Remote('{self}')"

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.url,)  # a worker process opens its own connection

    @property
    def name(self) -> str:
        """The last component of its path."""
        return self._last.name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self._last.stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name."""
        return self._last.suffix

    def stat(self) -> RemoteFacts:
        """Its metadata, requested once; raises UnreachableError where it does not exist or can't be reached."""
        return self._facts

    def open(self, mode: str = "rb") -> BinaryIO:
        """The whole file in memory."""
        try:
            return io.BytesIO(self.read([(0, self.stat().st_size)])[0])
        finally:
            self.close()

    def close(self) -> None:
        """Drop what fsspec caches of it: XRootD's driver prints errors at exit if the server is gone."""
        files, path = self._store
        with suppress(Exception):
            files.invalidate_cache(path)

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each range [start, stop), clipped to the size of the file."""
        size = self.stat().st_size
        inside = [(int(min(max(0, start), size)), int(min(stop, size))) for start, stop in ranges]
        asked = [(start, stop) for start, stop in inside if start < stop]
        files, path = self._store
        with self._reaching():
            starts, stops = [start for start, _ in asked], [stop for _, stop in asked]
            came = files.cat_ranges([path] * len(asked), starts, stops, on_error="raise")
        found = dict(zip(asked, map(bytes, came), strict=True))
        for (start, stop), part in found.items():
            if len(part) != stop - start:
                raise UnreachableError(f"can't read '{self}': {len(part)} bytes came of {stop - start}; try again")
        return [found.get(one, b"") for one in inside]

    def peek(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop) from cached blocks: directories are read in small pieces, repeatedly."""
        found: bytes = self._blocks._fetch(min(start, self.stat().st_size), min(stop, self.stat().st_size))
        return found

    def check_ranges(self) -> None:
        """Raise UserError where the server ignores range requests: each basket would download the whole file."""
        if self._split.scheme not in WEB or self.stat().st_size < 2:
            return
        files, path = self._store
        with self._reaching():
            try:
                with files.open(path, size=self.stat().st_size, cache_type="none") as file:
                    file.seek(1)
                    file.read(1)
            except ValueError as error:
                message = f"the server of '{self}' sends files only whole (no range requests): download it first"
                raise UserError(message) from error

    def matches(self) -> list["Remote"]:
        """The files that match a glob, or this file if it is none; raises UserError without a match or a listing."""
        if not set("*[") & set(self._split.path):
            return [self]
        if self._split.scheme in WEB:
            raise UserError(f"'{self}': web servers list no files: name them one by one")
        files, path = self._store
        with self._reaching():
            found = files.glob(path, detail=True)
        if not found:
            raise UserError(f"no file fits '{self}'")
        names = sorted(name for name, facts in found.items() if facts["type"] == "file")
        return [Remote(files.unstrip_protocol(name)) for name in names]

    @cached_property
    def _split(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def _last(self) -> PurePosixPath:
        path = self._split.path
        return PurePosixPath(PurePosixPath(unquote(path) if self._split.scheme in WEB else path).name)

    @cached_property
    def _store(self) -> tuple[Any, str]:
        """The fsspec file system and the path in it; raises UserError where its driver is not installed."""
        with self._reaching():
            import fsspec

            try:
                files, path = fsspec.core.url_to_fs(self.url, **_options(self._split.scheme))
            except ImportError as error:
                package, extra = EXTRAS.get(self._split.scheme, (None, None))
                need = f"needs {package}: pip install 'atlasae[{extra}]'" if package else masked(str(error))
                raise UserError(f"'{self}' {need}") from error
            except ValueError as error:
                raise UserError(f"'{self}': {masked(str(error))}; there are {', '.join(EXTRAS)}") from error
            return files, str(path)

    @cached_property
    def _blocks(self) -> Any:
        from fsspec.caching import BlockCache

        return BlockCache(_BLOCK, lambda start, stop: self.read([(start, stop)])[0], self.stat().st_size)

    @cached_property
    def _facts(self) -> RemoteFacts:
        files, path = self._store
        with self._reaching():
            facts = files.info(path)
        if facts["type"] == "directory":
            raise UserError(f"'{self}' is a folder: name a file in it")
        if facts["size"] is None:
            raise UserError(f"the server of '{self}' does not tell its size: download it first")
        return RemoteFacts(int(facts["size"]), ", ".join(f"{key} {facts[key]}" for key in _VERSION if key in facts))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn errors of fsspec and its drivers into UnreachableError."""
        try:
            yield
        except (AtlasaeError, MemoryError):
            raise
        except Exception as error:  # a dozen libraries raise classes of their own
            raise UnreachableError(self._trouble(error)) from error

    def _trouble(self, error: Exception) -> str:
        cause = error.__cause__ or error  # fsspec turns every HTTP error into FileNotFoundError
        status = getattr(cause, "status", 0)
        code = next((code for code in (NOT_FOUND, FORBIDDEN) if f"[{code}]" in str(cause)), status)
        if code in (404, 410, NOT_FOUND) or (isinstance(cause, FileNotFoundError) and not status):
            return f"no such file: '{self}'"
        if code in (401, 403, FORBIDDEN) or isinstance(cause, PermissionError):
            return f"no permission to read '{self}': the server wants other credentials"
        if isinstance(cause, TimeoutError):
            return f"can't read '{self}': no answer in {SILENCE} seconds; try again"
        reason = f"{status} {getattr(cause, 'message', '')}" if status else masked(str(cause))
        return f"can't read '{self}': {' '.join(reason.split()) or type(cause).__name__}"


Location = Path | Remote
Named = str | os.PathLike[str] | Remote  # what users may give as a location


def is_url(text: str) -> bool:
    """Whether a text is a URL; only `file://` URLs are local paths."""
    return bool(_URL.match(text))


def located(named: Named) -> Location:
    """The location that a text or path names; raises UserError for a URL without a file name, and for other types."""
    if isinstance(named, Remote):
        return named
    if not isinstance(named, str | os.PathLike):
        raise UserError(f"{named!r} is no path: give a text or a Path")
    if not is_url(text := os.fsdecode(named)):
        return Path(text)
    try:
        remote = Remote(text)
        if remote._split.scheme == "file":
            return Path(unquote(remote._split.path))
        if remote.name in ("", "..") or not remote.name.isprintable():
            raise UserError(f"'{remote}' names no file")
    except ValueError as error:
        raise UserError(f"'{masked(text)}' is no URL: {masked(str(error))}") from error
    return remote


def all_located(named: Named | Iterable[Named]) -> list[Location]:
    """The locations that one name or several name."""
    return [located(one) for one in (named if isinstance(named, Iterable) and not isinstance(named, str) else [named])]


def local(named: Named, instead: str = "write it here, and copy it there") -> Path:
    """The path of a local file; raises UserError for a URL, with `instead` as the advice."""
    location = located(named)
    if isinstance(location, Remote):
        raise UserError(f"'{location}' is a URL, and only inputs are read from one: {instead}")
    return location


def address(location: Location) -> str:
    """The path or the full URL, credentials included, to pass to a program."""
    return location.url if isinstance(location, Remote) else str(location)


def check_exists(path: Location) -> None:
    """Raise UserError where there is no such file."""
    if isinstance(path, Remote):
        path.stat()
    elif not path.exists():
        raise UserError(f"no such file: '{path}'")


@contextmanager
def watching(*paths: Location) -> Iterator[Callable[[], None]]:
    """Yield a function to call after reading, which raises UserError where a file has changed since this began.

    An error inside is replaced by that one if a file has changed, which may be its cause.
    """
    before = [_state(path) for path in paths]

    def check() -> None:
        for path, state in zip(paths, before, strict=True):
            if state != _state(Remote(path.url) if isinstance(path, Remote) else path):  # a new one, which asks again
                raise UserError(
                    f"'{path}' changed while it was read, and parts of it may be old and others new: try again when "
                    f"nobody writes it{', or copy it here first' if isinstance(path, Remote) else ''}"
                )

    try:
        yield check
    except Exception:
        with suppress(UnreachableError):
            check()
        raise


def _state(path: Location) -> tuple[object, ...]:
    """Metadata that change with a file; empty for a missing file, and for pipes, which change as they are read."""
    if isinstance(path, Remote):
        return path.stat().st_size, path.stat().version
    with suppress(OSError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return ()


def masked(text: str) -> str:
    """A text with user names, passwords and query strings removed from its URLs."""
    return re.sub(r"\?\S+", "", re.sub(r"://[^/\s]*@", "://", text))


def _options(scheme: str) -> dict[str, Any]:
    """Options of a driver that make it time out; by default it takes minutes."""
    if scheme in WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECTING, sock_read=SILENCE)
        # Not compressed, for ranges would count compressed bytes. trust_env: the user's proxy and ~/.netrc.
        return {"client_kwargs": {"timeout": timeout, "headers": {"Accept-Encoding": "identity"}, "trust_env": True}}
    if scheme == "s3":
        timeouts = {"connect_timeout": CONNECTING, "read_timeout": SILENCE}
        return {"config_kwargs": timeouts | {"retries": {"max_attempts": 2}}, "use_listings_cache": False}
    if scheme == "root":
        _hurry_xrootd()
        return {"timeout": SILENCE, "use_listings_cache": False}
    return {}


@cache
def _hurry_xrootd() -> None:
    """Shorten XRootD's time-outs, unless variables such as XRD_CONNECTIONWINDOW set them."""
    from XRootD.client.env import EnvPutInt

    times = {"ConnectionWindow": CONNECTING, "ConnectionRetry": 1, "TimeoutResolution": 1}
    for name, value in (times | {"RequestTimeout": SILENCE, "StreamErrorWindow": 0}).items():
        EnvPutInt(name, value)  # type: ignore[no-untyped-call]  # XRootD has no types
    # At exit XRootD inspects every object in memory, and some of torch's warn when they are inspected.
    atexit.register(warnings.filterwarnings, "ignore", module=r"XRootD\.client\.finalize")
