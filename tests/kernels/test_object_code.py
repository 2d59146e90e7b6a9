"""Kernels whose machine code is kept in files."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofs.kernels import object_code
from cryofs.kernels.object_code import Kernel, inlined
from cryofs.system import code_cache


def add(values: Any, number: Any, total: Any) -> None:
    for i in range(len(values)):
        total[i] += values[i] * number


@inlined
def product(value: Any, number: Any) -> Any:
    return value * number


def add_product(values: Any, number: Any, total: Any) -> None:
    for i in range(len(values)):
        total[i] += product(values[i], number)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # settings of numba make kernels ordinary functions of numba
    for name in [name for name in os.environ if name.startswith("NUMBA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code"))
    return next(code_cache.folders(Path(object_code.__file__)))


def run(kernel: Kernel, dtype: type = np.uint8) -> list[int]:
    total: NDArray[Any] = np.ones(3, dtype)
    kernel(np.array([1, 2, 3], dtype), 10, total)
    return [int(value) for value in total]


def test_a_kernel_is_compiled_for_the_types_of_its_arrays(folder: Path) -> None:
    kernel = Kernel(add)
    for dtype in (np.uint8, np.int64, np.float32):
        assert run(kernel, dtype) == [11, 21, 31]
    assert len(list(folder.iterdir())) == 3


def test_a_kernel_calls_functions_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Kernel(add_product)) == [11, 21, 31]
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert run(Kernel(add_product)) == [11, 21, 31]


def test_stored_code_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Kernel(add))
    monkeypatch.setattr("cryofs.kernels.compilation.object_code", None)
    assert run(Kernel(add)) == [11, 21, 31]


def test_damaged_code_is_compiled_again(folder: Path) -> None:
    run(Kernel(add))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        path.write_bytes(damaged)
        assert run(Kernel(add)) == [11, 21, 31]
        assert path.read_bytes() != damaged
        assert code_cache.load(path.name, Path(object_code.__file__)) is not None


def test_code_of_another_processor_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Kernel(add))
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "another")
    run(Kernel(add))
    assert len(list(folder.iterdir())) == 2


def test_without_a_writable_folder_it_is_compiled_each_time(folder: Path) -> None:
    folder.parent.touch()
    assert run(Kernel(add)) == [11, 21, 31]


def test_a_kernel_that_needs_numba_is_rejected() -> None:
    def allocate(values: Any, number: Any, total: Any) -> None:
        total[:] = np.empty(3, np.uint8)

    with pytest.raises(Exception, match=r"allocate|NRT"):
        run(Kernel(allocate))


def test_arrays_that_are_not_contiguous_are_rejected() -> None:
    kernel = Kernel(add)
    with pytest.raises(ValueError, match="contiguous"):
        kernel(np.zeros(6, np.uint8)[::2], 1, np.zeros(3, np.uint8))


def test_threads_load_it_once(folder: Path) -> None:
    kernel = Kernel(add)
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(run(kernel))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == 4 * [[11, 21, 31]]
    assert len(list(folder.iterdir())) == 1


def test_events_are_decoded_without_numba() -> None:
    program = "from cryofs.kernels import eer_events; eer_events.load(); import sys; print('numba' in sys.modules)"
    for expected in ("True", "False"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
