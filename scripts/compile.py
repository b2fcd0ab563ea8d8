"""Compiles atlasae/native: a hook of hatchling, for every wheel and editable install.

Where there is no C compiler, or it fails, the wheel is of Python alone. CC=... names another compiler than cc.
"""

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "atlasae/native/compiled.library"
# A fused product and sum would round once, not twice: contexts of the packed layout must be equal on every machine.
FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-fPIC", "-shared"]


def compiler_command(folder: Path, target: Path) -> list[str]:
    """The command that makes the library `target` of the sources in a folder; it refuses to load with others."""
    sources = sorted(folder.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    units = [str(path) for path in sources if path.suffix == ".c"]
    compiler = shlex.split(os.environ.get("CC") or "cc")
    return [*compiler, *FLAGS, f'-DATLASAE_SOURCES="{digest}"', "-o", str(target), *units, "-lm"]


class CompiledParts(BuildHookInterface):  # type: ignore[misc]
    """Adds the library to a wheel; for an editable install, puts it beside its sources."""

    @property
    def made(self) -> Path:
        """Where the library of a wheel is made."""
        return Path(self.directory) / "compiled.library"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; on failure, warn and go on without."""
        root = Path(self.root)
        target = root / NAME if version == "editable" else self.made
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_suffix(f".{os.getpid()}")  # a library in use must not be written to
        try:
            subprocess.run(compiler_command(root / "atlasae" / "native", made), check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"nothing is compiled ({error}): atlasae will be of Python alone, and slower")
            target.unlink(missing_ok=True)
            return
        made.replace(target)
        if version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data |= {"pure_python": False, "tag": f"py3-none-{platform}"}
            build_data["force_include"][str(target)] = NAME

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing beside the wheel."""
        self.made.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit("this is a hook of hatchling: run `pip install --editable .`")
