"""Notify the service manager that started a mount (sd_notify(3))."""

import logging
import os
import socket

from cryofs.text import printable

VARIABLE = "NOTIFY_SOCKET"

log = logging.getLogger("cryofs")


def notify(*assignments: str) -> None:
    """Send assignments such as ``READY=1`` to the service manager, if there is one; log failures."""
    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    message = "\n".join(printable(each) for each in assignments)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            # an address in the abstract namespace begins with a zero byte
            connection.connect("\0" + address[1:] if address[0] == "@" else address)
            connection.sendall(os.fsencode(message))
    except OSError as error:
        log.warning("%s: cannot send %s to the service manager (%s)", address, assignments[0], error)
