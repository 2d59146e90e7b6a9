"""Keep tests with a mount that hangs and tests that query all mounts of the machine from running together.

A query of a mount that hangs keeps the mount in use, even after the query was given up, so it could not be unmounted.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def one_hangs() -> Iterator[None]:
    """Exclude tests that query all mounts, in the context."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def queried() -> Iterator[None]:
    """Exclude tests with a mount that hangs, in the context."""
    with _locked(fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _locked(kind: int) -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / f"cryofs-tests-mounts-{os.getuid()}").open("a") as file:
        fcntl.flock(file, kind)
        yield
