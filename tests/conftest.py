"""What all tests share: the Hypothesis profile, and files that live in memory."""

import contextlib
import os
from collections.abc import Iterator

from hypothesis import settings

settings.register_profile("cryofs", deadline=None)
settings.load_profile("cryofs")


@contextlib.contextmanager
def open_bytes(data: bytes) -> Iterator[int]:
    """Descriptor of a file with this content."""
    descriptor = os.memfd_create("test")
    try:
        os.pwrite(descriptor, data, 0)
        yield descriptor
    finally:
        os.close(descriptor)
