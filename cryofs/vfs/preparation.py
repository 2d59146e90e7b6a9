"""Load what the first readers of a mount would wait for, in the background."""

import threading
import time
from collections.abc import Callable

from cryofs.codecs import registry as codecs
from cryofs.movies import registry

# Loading starts after this many seconds without a request, and at the latest after the longest delay.
PAUSE_SECONDS = 0.05
_LONGEST_DELAY = 5.0


def prepare(is_busy: Callable[[], bool], stopping: threading.Event, last: Callable[[], object]) -> None:
    """Load compiled code (half a second, 100 MB) and other resources of the first reader; `last` loads the latter.

    Loading holds the interpreter lock and so blocks requests; therefore it waits until no request arrives.
    """
    until = time.monotonic() + _LONGEST_DELAY
    while is_busy() and time.monotonic() < until and not stopping.is_set():
        stopping.wait(PAUSE_SECONDS)
    steps = (*(provider.load_compiled for provider in registry.PROVIDERS), codecs.load_compiled, last)
    for step in steps:
        if stopping.is_set():
            return
        step()
