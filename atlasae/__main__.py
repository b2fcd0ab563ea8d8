"""`python -m atlasae`: the commands."""

from atlasae.commands.cli import main

if __name__ == "__main__":
    main()
