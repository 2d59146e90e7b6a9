"""Compiled kernels are stored in a writable folder, and never loaded from a folder of another user."""

import os
import tempfile
from pathlib import Path

import pytest

from cryofs.system import numba_cache


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a temporary folder, the only place where the process may write."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    return tmp_path / f"cryofs-code-{os.getuid()}"


def test_a_user_without_a_writable_folder(place: Path) -> None:
    for _ in range(2):
        numba_cache.choose()
        assert os.environ.pop("NUMBA_CACHE_DIR") == str(place)
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["open to others", "a link"])
def test_an_untrusted_folder_is_not_used(place: Path, tmp_path: Path, how: str) -> None:
    if how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to("elsewhere")
    else:
        place.mkdir()
        place.chmod(0o777)
    numba_cache.choose()
    chosen = Path(os.environ["NUMBA_CACHE_DIR"])
    assert chosen.parent == tmp_path
    assert chosen not in (place, tmp_path / "elsewhere")


def test_folders_that_numba_finds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    numba_cache.choose()
    assert "NUMBA_CACHE_DIR" not in os.environ
