"""C++ programs of tests, compiled with g++."""

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
STANDARD = (
    *("algorithm", "cmath", "cstdint", "cstdio", "cstring", "functional", "iterator", "memory", "numeric", "stdexcept"),
    *("string", "type_traits", "vector"),
)
# Names of branches, files and trees that would be code if a header had them as they are.
HOSTILE = [
    "a\nint hostile;\n",
    "a\\",
    "a??/",
    "*/ int hostile; /*",
    '"); int hostile; //',
    "é\u2028\r\nint hostile;\ud800",
]
TOKENS = re.compile(
    r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\])*"', re.DOTALL
)  # comments and strings, as C++ has them


def compiled(folder: Path, program: str, *flags: str) -> Path:
    """The program compiled with these flags; its headers must include all that they need."""
    (folder / "main.cpp").write_text(program)
    subprocess.run(["g++", *STRICT, *flags, folder / "main.cpp", "-o", folder / "main"], check=True)
    return folder / "main"


def quickly_compiled(folder: Path, program: str) -> Path:
    """The program compiled in two thirds of the time: standard headers are parsed once a session, and included."""
    return compiled(folder, program, "-Og", "-include", str(Path(_parsed().name) / "standard.h"))


@cache
def _parsed() -> tempfile.TemporaryDirectory[str]:
    """A folder with the standard headers parsed, which lasts as long as the session."""
    folder = tempfile.TemporaryDirectory()
    header = Path(folder.name) / "standard.h"
    header.write_text("".join(f"#include <{name}>\n" for name in STANDARD))
    subprocess.run(["g++", *STRICT, "-Og", "-x", "c++-header", header, "-o", f"{header}.gch"], check=True)
    return folder
