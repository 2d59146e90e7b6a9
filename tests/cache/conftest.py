"""A decoder that counts, and a thread in the background."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cache.frames import Decoder


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool
