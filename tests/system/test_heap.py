"""When the heap returns its holes to the system."""

import subprocess
import sys
import time

import pytest

from cryofs.system import heap

MIB = 1 << 20


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of malloc_trim, in a process that has none so far."""
    found: list[int] = []
    monkeypatch.setattr(heap, "_trim", found.append)
    monkeypatch.setattr(heap, "_freed_bytes", 0)
    monkeypatch.setattr(heap, "_next_trim", 0.0)
    return found


def test_many_small_blocks_trim_the_heap_and_large_ones_do_not(trims: list[int]) -> None:
    heap.freed([100 * MIB] * 5)
    heap.freed([MIB] * 63)
    heap.freed([])
    assert trims == []
    heap.freed([MIB])
    assert trims == [0]


def test_the_heap_is_not_trimmed_all_the_time(trims: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(10):
        heap.freed([MIB] * 100)
    assert len(trims) == 1
    now += 2
    heap.freed([MIB])
    assert len(trims) == 2


def test_a_process_that_did_not_limit_its_heap_is_left_alone(trims: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_trim", None)
    heap.freed([MIB] * 100)
    assert trims == []


def test_holes_are_returned_to_the_system() -> None:
    """Half of the blocks of the heap are freed, each between two others."""
    script = """
import numpy as np
from cryofs.system import heap
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
heap.limit_heap()
blocks = [np.ones(1 << 19, np.uint8) for _ in range(400)]
full = resident()
del blocks[::2]
held = resident()
heap.freed([1 << 19] * 200)
print(full - held, held - resident())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    by_itself, returned = map(int, done.stdout.split())
    assert by_itself < 20 * MIB
    assert returned > 80 * MIB
