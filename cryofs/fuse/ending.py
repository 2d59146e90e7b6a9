"""End the process of a mount without waiting for its threads.

Once the kernel has closed the connection, no program can read from the mount. A read-only mount then needs no cleanup,
although its threads may still load compiled code, decode ahead, or wait for hanging storage.
"""

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from cryofs.system.request_limit import RequestLimit

_DEVICE = Path("/dev/fuse")


def watch_connection(end: Callable[[], None]) -> None:
    """Start a thread that calls `end` once the kernel closes the connection of this process's mount.

    The kernel closes it with the last mount of the file system, including bind mounts, and with the last open file of a
    detached mount.
    """
    connection = select.poll()
    for descriptor in _connections():
        # without requested events, poll reports errors only
        connection.register(descriptor, 0)

    def watch() -> None:
        connection.poll()
        end()

    threading.Thread(target=watch, name="connection", daemon=True).start()


def _connections() -> list[int]:
    found = []
    for path in Path("/proc/self/fd").iterdir():
        # the descriptor used for the listing itself is already closed
        with contextlib.suppress(OSError):
            if path.readlink() == _DEVICE:
                found.append(int(path.name))
    return found


def ended_by_kernel(limit: RequestLimit | None) -> str:
    """Return why the connection of a mount ended although the mount is still in the mount table."""
    aborted = "the connection was aborted (/sys/fs/fuse/connections)"
    if limit is None:
        return f"ended by the kernel: {aborted}"
    return f"ended by the kernel: a request took longer than {limit.seconds} s ({limit.name}), or {aborted}"


def end_process() -> NoReturn:
    """End this process without waiting for its threads, after flushing the log."""
    logging.shutdown()
    os._exit(0)
