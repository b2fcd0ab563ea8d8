"""Tasks that kill their worker, or tell of it. A worker imports this module to find them, so it imports little."""

import os
import signal
from typing import Any

from atlasae.commands.workers import Task
from atlasae.errors import UserError

PROFILE = "distributed.worker.profile.enabled"


def compress(task: Task) -> dict[str, Any]:
    from atlasae.commands.many import compress_task

    return dict(compress_task(task))


def ignore(task: Task) -> dict[str, Any]:
    task.target.write_text("done")
    return {"pid": os.getpid()}


def die_once(task: Task) -> dict[str, Any]:
    """Kill this process at the first attempt on `b.root`, in the middle of its work."""
    marker = task.path.with_suffix(".tried")
    if task.path.name == "b.root" and not marker.exists():
        from atlasae.files.outputs import replacing

        marker.touch()
        with replacing(task.target, False):
            os.kill(os.getpid(), signal.SIGKILL)
    return compress(task)


def die_when_done(task: Task) -> dict[str, Any]:
    """Kill this process when `b.root` is complete, before its outcome is returned."""
    report = compress(task)
    if task.path.name == "b.root":
        os.kill(os.getpid(), signal.SIGKILL)
    return report


def die_always(task: Task) -> dict[str, Any]:
    """Kill this process at every attempt on `b.root`."""
    if task.path.name == "b.root":
        with task.path.with_suffix(".tried").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return ignore(task)


def refuse(task: Task) -> dict[str, Any]:
    with task.path.with_suffix(".tried").open("a") as file:
        file.write("x")
    raise UserError("not this one")


def tell_environment(task: Task) -> dict[str, Any]:
    import dask

    return ignore(task) | {"environment": dict(os.environ), "profiled": dask.config.get(PROFILE, None)}
