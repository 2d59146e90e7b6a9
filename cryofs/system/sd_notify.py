"""What a service manager is told of a mount that it started (sd_notify(3)); nothing where there is none."""

import logging
import os
import socket

VARIABLE = "NOTIFY_SOCKET"

log = logging.getLogger("cryofs")


def tell(*assignments: str) -> None:
    """Tell the service manager, in words as ``READY=1`` and ``STATUS=...``; one that does not hear stops no mount."""
    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    message = "\n".join(" ".join(each.split()) for each in assignments)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            # an address in the abstract namespace begins with a zero byte
            connection.connect("\0" + address[1:] if address[0] == "@" else address)
            connection.sendall(os.fsencode(message))
    except OSError as error:
        log.warning("%s: the service manager could not be told %s (%s)", address, assignments[0], error)
