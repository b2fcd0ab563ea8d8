"""Local servers that tests read files from: a web server with settings to misbehave, and XRootD's own."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Web:
    """A web server of a folder, the requests it got, and settings to misbehave."""

    folder: Path
    port: int = 0
    ranges: bool = True  # whether it answers range requests
    status: int | None = None  # status of every answer, if not None
    etags: dict[str, str] = field(default_factory=dict)
    cut_after: float = float("inf")  # requests that it answers before it cuts connections
    silent: bool = False  # whether it accepts requests and never answers
    lengths: bool = True  # whether it sends Content-Length
    sent: int = 0  # bytes of files
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str) -> str:
        """The URL of a file, with credentials and a query string."""
        return f"http://user:password@127.0.0.1:{self.port}/{name}?signature=SECRET"

    def said(self, name: str) -> str:
        """The URL without these, as messages show it."""
        return f"http://127.0.0.1:{self.port}/{name}"


class Handler(BaseHTTPRequestHandler):
    """Answers HEAD and GET of one file, whole or a range of it."""

    web: Web

    def do_GET(self) -> None:
        """Answer."""
        web, path = self.web, self.web.folder / unquote(urlsplit(self.path).path).lstrip("/")
        web.asked.append(f"{self.command} {self.headers['Range'] or ''}".strip())
        web.headers.append(dict(self.headers))
        if web.silent:
            web.over.wait()
            return
        if web.status or not path.is_file():
            self.send_error(web.status or 404)
            return
        content = path.read_bytes()
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "") if web.ranges else None
        part = content[int(asked[1]) : int(asked[2]) + 1] if asked else content
        self.send_response(206 if asked else 200)
        if web.lengths:
            self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(content)}")
        if path.name in web.etags:
            self.send_header("ETag", web.etags[path.name])
        self.end_headers()
        self._send(part if len(web.asked) <= web.cut_after else part[:-1])

    do_HEAD = do_GET

    def _send(self, part: bytes) -> None:
        if self.command == "GET":
            self.web.sent += len(part)
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def web_server(folder: Path) -> Iterator[Web]:
    """A web server of a folder, on a free port."""
    web = Web(folder)
    handler = type("OfThisFolder", (Handler,), {"web": web})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        web.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            web.over.set()
            server.shutdown()
            thread.join()


def dead_port() -> int:
    """A port on which no server listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class XRootD:
    """A server of XRootD, its folder, and the URL of that."""

    folder: Path
    url: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """Stop it at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def xrootd_server() -> Iterator[XRootD]:
    """A server of XRootD; it needs the program `xrootd`."""
    assert (program := shutil.which("xrootd"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)  # not pytest's, which only its owner may enter
        config = ["all.export /", f"oss.localroot {folder}/data", f"xrd.port {(port := dead_port())}"]
        config += [f"all.adminpath {folder}/admin", f"all.pidpath {folder}/admin", "xrd.network nodnr"]
        (folder / "xrootd.cfg").write_text("\n".join(config) + "\n")
        (folder / "data" / "files").mkdir(parents=True)
        (folder / "admin").mkdir()
        if as_root := os.getuid() == 0:  # it refuses to run as root
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o777)
        command = [program, *(["-R", "nobody"] if as_root else []), "-c", str(folder / "xrootd.cfg")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr
            lines = []
            for line in server.stderr:
                lines.append(line)
                if "initialization completed" in line and str(port) in line:
                    break
            found = XRootD(folder / "data" / "files", f"root://127.0.0.1:{port}//files", server)
            try:
                assert server.poll() is None, lines
                yield found
            finally:
                found.stop()
