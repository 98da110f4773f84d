"""Nothing of this machine in what is published: no user's or host's name, and none of its folders."""

from __future__ import annotations

import getpass
import platform
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError

SHORTEST_PATH = 4  # characters: a picture in a page is text too, in which chance writes shorter ones
SHORTEST = 5  # letters: a shorter name of a user or a host is likely to be an ordinary word, such as root


def private_words(folders: Iterable[Path]) -> list[str]:
    """What gives this machine away: its folders, those in `folders` among them, and the names of user and host."""
    places = [Path.home(), Path.cwd(), Path(tempfile.gettempdir()), *folders]
    paths = {str(way) for place in places for way in (place.absolute(), place.resolve())}
    names = {platform.node(), platform.node().partition(".")[0]}
    with suppress(OSError, KeyError):  # a user without a name, as in a container
        names.add(getpass.getuser())
    return sorted(path for path in paths if len(path) >= SHORTEST_PATH) + sorted(
        name for name in names if len(name) >= SHORTEST
    )


def refuse_private(name: str, text: str, words: Iterable[str]) -> None:
    """Raises BenchError if the file called `name`, which holds `text`, has one of `words` as a whole word in it."""
    for word in words:
        if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text):
            raise BenchError(f"{name} holds {word!r}, which belongs to this machine: it is not published")
