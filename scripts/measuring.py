"""What benchmarks measure alike; by the standard library alone: a process inherits the peak memory of its parent."""

import resource
import sys

ATLASAE = (sys.executable, "-c", "from atlasae.commands.cli import main; main()")
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in what getrusage calls one


def cpu_seconds() -> float:
    """What all processes that were started from here and have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """The most memory that this process held, imports included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT
