"""`python -m atlasae`, and what the command `atlasae` starts: the commands, whose imports take a while."""

import os
import signal

from atlasae.errors import ENDING


def start() -> None:
    """Run a command; Ctrl-C ends it with one line also while its modules are imported, when nothing has begun."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from atlasae.commands.cli import main

    main()


def _leave(number: int, frame: object) -> None:
    """End at once, as `atlasae.commands.running` does later: an exception could be taken for one of an import."""
    os.write(2, b"atlasae: interrupted: no output was left\n")
    os._exit(130)


if __name__ == "__main__":
    start()
