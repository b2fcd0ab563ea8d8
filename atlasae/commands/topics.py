"""The pages of `atlasae help`: one Markdown file per topic, in `atlasae/docs`."""

import re
from importlib import resources

from atlasae.errors import UserError

_FOLDER = resources.files("atlasae") / "docs"
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def topics() -> dict[str, str]:
    """A line on each topic: the text after the colon in the heading of its page."""
    found = sorted(page.name.removesuffix(".md") for page in _FOLDER.iterdir() if page.name.endswith(".md"))
    return {name: _text(name).partition("\n")[0].partition(": ")[2] for name in found}


def list_of_topics() -> str:
    """All topics with their lines, and how to read one."""
    known = topics()
    width = max(map(len, known))
    return "\n".join(
        [*(f"{name:{width}}  {about}" for name, about in known.items()), "", "atlasae help TOPIC shows one"]
    )


def topic_text(name: str) -> str:
    """The page of a topic, as Markdown; raises UserError that names the topics."""
    if name not in (known := topics()):
        raise UserError(f"no topic '{name}': choose from {', '.join(known)}")
    return _text(name)


def _text(name: str) -> str:
    """A page without its HTML comments, which tests use."""
    return _COMMENT.sub("", (_FOLDER / f"{name}.md").read_text(encoding="utf-8"))
