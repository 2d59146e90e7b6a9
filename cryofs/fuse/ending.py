"""End the process of a mount without waiting for its threads.

Once the kernel has closed the connection, no program can read from the mount. A read-only mount then needs no cleanup,
although its threads may still load compiled code, decode ahead, or wait for hanging storage.
"""

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import NoReturn

from cryofs.fuse.control import FUSE_DEVICE
from cryofs.system.process_state import PROC, descriptors_of
from cryofs.system.request_limit import RequestLimit


def watch_connection(end: Callable[[], None]) -> None:
    """Start a thread that calls `end` once the kernel closes the connection of this process's mount.

    The kernel closes it with the last mount of the file system, including bind mounts, and with the last open file of a
    detached mount.
    """
    connection = select.poll()
    for descriptor in descriptors_of(PROC / "self", FUSE_DEVICE):
        # without requested events, poll reports errors only
        connection.register(int(descriptor), 0)

    def watch() -> None:
        connection.poll()
        end()

    threading.Thread(target=watch, name="connection", daemon=True).start()


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
