"""Compiled kernels: stored code is used, damaged code is compiled again, and nothing needs a writable folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cryofs
from cryofs.codecs import compiled
from cryofs.system import code_cache

PROGRAM = """
from cryofs.codecs import lzw
import numpy as np
data = np.arange(40, dtype=np.uint8) % 3
out = np.empty_like(data)
lzw.decode(lzw.encode(data), out)
assert (out == data).all()
print(sum(sum(kernel.stats.cache_misses.values()) for kernel in vars(lzw).values() if hasattr(kernel, "stats")))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        pytest.skip("numba is disabled")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code"))
    return next(code_cache.folders(Path(__file__)))


def kernel() -> Callable[[int], int]:
    """A new kernel, as another process would make it."""

    def double(number: Any) -> Any:
        return 2 * number

    made: Callable[[int], int] = compiled.compiled(double)
    return made


def compilations(made: Any) -> int:
    return sum(made.stats.cache_misses.values())


def test_stored_code_is_used(folder: Path) -> None:
    first, second = kernel(), kernel()
    assert (first(4), compilations(first)) == (8, 1)
    assert len(list(folder.iterdir())) == 1
    assert (second(4), compilations(second)) == (8, 0)


@pytest.mark.parametrize("size", [0, 10, 500])
def test_an_empty_or_cut_file_is_compiled_again(folder: Path, size: int) -> None:
    kernel()(4)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    again, last = kernel(), kernel()
    assert (again(4), compilations(again)) == (8, 1)
    assert (last(4), compilations(last)) == (8, 0)


def test_a_folder_that_is_not_writable(folder: Path) -> None:
    folder.parent.write_text("a file")
    made = kernel()
    assert (made(4), made(5)) == (8, 10)
    assert compilations(made) == 1


def test_settings_of_numba_have_code_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel()(4)
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    compiled._machine.cache_clear()
    kernel()(4)
    monkeypatch.undo()
    compiled._machine.cache_clear()
    assert len(list(folder.iterdir())) == 2


# an installation that this process cannot write to: it is bound read-only in a mount namespace of its own
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def test_other_users_use_the_code_of_an_installation(tmp_path: Path) -> None:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        pytest.skip("numba is disabled")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace")
    place = tmp_path / "installed"
    source = Path(cryofs.__file__).parent
    for name in ("__init__.py", "version.py", "errors.py", "text.py", "error_hints.py", "codecs", "system", "storage"):
        one, other = source / name, place / "cryofs" / name
        other.parent.mkdir(parents=True, exist_ok=True)
        if one.is_dir():
            shutil.copytree(one, other, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(one, other)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    environment = {**kept, "PYTHONPATH": str(place), "HOME": str(place)}

    def misses(*prefix: object) -> int:
        command = [*map(str, prefix), sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.splitlines()[-1])

    assert misses() > 0
    assert misses("unshare", "--mount", "bash", "-c", READ_ONLY, place) == 0
