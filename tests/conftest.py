"""For all tests: the Hypothesis profile, a separate cache folder, and files in memory."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cryofs.storage.byte_source import LocalFile

settings.register_profile("cryofs", deadline=None)
settings.load_profile("cryofs")

# commands receive Ctrl-C even if a shell started the tests in its background, which ignores it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mounts of tests, in processes of their own too, keep nothing in the user's folders."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@contextlib.contextmanager
def open_bytes(data: bytes, name: str = "test", size: int | None = None) -> Iterator[LocalFile]:
    """A file with this content; it claims another size, if given."""
    descriptor = os.memfd_create("test")
    os.pwrite(descriptor, data, 0)
    with LocalFile(descriptor, name) as source:
        yield source if size is None else source.first_bytes(size)
