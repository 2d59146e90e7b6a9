"""The end of a mount's process, which does not wait for its threads.

When the kernel has dropped the connection nobody can read any more. A read-only mount then owns nothing that has to be
put in order, while its threads may be loading compiled code, decoding ahead, or waiting for storage that hangs.
"""

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_DEVICE = Path("/dev/fuse")


def watch_connection(end: Callable[[], None]) -> None:
    """Have a thread call a function once the kernel drops the connection of the mount that this process serves.

    The kernel does so with the last mount of the file system, bind mounts included, and with the last open file of a
    mount that was detached.
    """
    connection = select.poll()
    for descriptor in _connections():
        # no event is asked for, so that only errors are reported
        connection.register(descriptor, 0)

    def watch() -> None:
        connection.poll()
        end()

    threading.Thread(target=watch, name="connection", daemon=True).start()


def _connections() -> list[int]:
    found = []
    for path in Path("/proc/self/fd").iterdir():
        # the descriptor of the listing itself is closed by now
        with contextlib.suppress(OSError):
            if path.readlink() == _DEVICE:
                found.append(int(path.name))
    return found


def end_process() -> NoReturn:
    """End this process without waiting for its threads; what was logged is written."""
    logging.shutdown()
    os._exit(0)
