"""What all tests share: the Hypothesis profile, a cache folder of their own, and files that live in memory."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("cryofs", deadline=None)
settings.load_profile("cryofs")

# commands hear Ctrl-C even where a shell started the tests in its background, and so ignored it for them
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
def open_bytes(data: bytes) -> Iterator[int]:
    """Descriptor of a file with this content."""
    descriptor = os.memfd_create("test")
    try:
        os.pwrite(descriptor, data, 0)
        yield descriptor
    finally:
        os.close(descriptor)
