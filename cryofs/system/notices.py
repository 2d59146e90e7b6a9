"""Report, once per run, what storage or the machine lacks, and the consequence.

Such a condition is found deep in a run, in any thread or worker process, and is not an error. A command shows notices
with `shown`; a worker process collects them, and its caller reports them again.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

Notice = tuple[str, str]

_log = logging.getLogger("cryofs")
_lock = threading.Lock()
_known: dict[str, str] = {}
_show: Callable[[str], object] = _log.warning


def notice(condition: str, text: str) -> None:
    """Report a condition unless it is known; `text` names the place and the consequence."""
    with _lock:
        if condition in _known:
            return
        _known[condition] = text
        show = _show
    show(text)


def is_known(condition: str) -> bool:
    """Return True if a condition was reported in this run."""
    return condition in _known


@contextlib.contextmanager
def shown(show: Callable[[str], object]) -> Iterator[None]:
    """Begin a run: until the end of the context, pass the text of each new notice to `show`."""
    global _show
    with _lock:
        before, _show = (_show, dict(_known)), show
        _known.clear()
    try:
        yield
    finally:
        with _lock:
            _show, known = before
            _known.clear()
            _known.update(known)


def collected() -> list[Notice]:
    """Return all notices of this run."""
    with _lock:
        return list(_known.items())
