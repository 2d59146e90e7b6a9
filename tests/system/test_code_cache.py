"""Compiled code is stored in a writable folder, and never loaded from a folder of another user."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from cryofs.system import code_cache, notices


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source file; its folder, a home and a temporary folder may hold code."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "kernels.py").write_text("")
    return tmp_path / "code" / "kernels.py"


def refuse(monkeypatch: pytest.MonkeyPatch, code: int, *places: Path) -> None:
    """Let writing fail in some folders."""
    make = Path.mkdir

    def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
        if any(place in (path, *path.parents) for place in places):
            raise OSError(code, os.strerror(code), str(path))
        make(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)


def test_code_is_stored_beside_the_source_if_that_is_writable(source: Path) -> None:
    assert code_cache.store("a", source, b"code") == source.parent / "__pycache__"
    assert code_cache.load("a", source) == b"code"
    assert code_cache.load("b", source) is None


def test_the_next_folder_is_used(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EROFS, source.parent)
    home = code_cache.store("a", source, b"code")
    assert home is not None
    assert home.parent == tmp_path / "home" / "numba"
    refuse(monkeypatch, errno.EROFS, source.parent, tmp_path / "home")
    temporary = code_cache.store("b", source, b"code")
    assert temporary is not None
    assert temporary.parent == tmp_path / "temporary" / f"cryofs-code-{os.getuid()}"
    assert temporary.parent.stat().st_mode & 0o777 == 0o700
    assert (code_cache.load("a", source), code_cache.load("b", source)) == (b"code", b"code")


@pytest.mark.parametrize("damaged", [b"", b"x" * 20, b"y" * 100])
def test_a_damaged_file_is_removed(source: Path, damaged: bytes) -> None:
    folder = code_cache.store("a", source, b"code")
    assert folder is not None
    (folder / "a").write_bytes(damaged)
    assert code_cache.load("a", source) is None
    assert not list(folder.iterdir())


def test_a_full_folder_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EROFS, source.parent, tmp_path / "temporary")
    refuse(monkeypatch, errno.ENOSPC, tmp_path / "home")
    told: list[str] = []
    with notices.shown(told.append):
        assert code_cache.store("a", source, b"code") is None
        assert code_cache.store("b", source, b"code") is None
    assert len(told) == 2
    assert told[0].startswith(f"{tmp_path / 'home' / 'numba'}")
    assert "No space left on device" in told[0]
    assert "free some space in this folder" in told[0]
    assert "each run compiles" in told[1]


def test_no_temporary_folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    refuse(monkeypatch, errno.EROFS, tmp_path)
    assert code_cache.load("a", source) is None
    assert code_cache.store("a", source, b"code") is None


def test_no_draft_is_left(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    assert code_cache.store("a", source, b"code") is None
    assert not list(code_cache.beside(source).iterdir())


@pytest.mark.parametrize("how", ["open to others", "a link"])
def test_an_untrusted_folder_is_not_used(source: Path, tmp_path: Path, how: str) -> None:
    place = tmp_path / "temporary" / f"cryofs-code-{os.getuid()}"
    if how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir()
        place.chmod(0o777)
    assert not any(place in folder.parents for folder in code_cache.folders(source))


def test_the_folder_of_another_user_is_not_used(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / "home").stat().st_uid + 1)
    if (tmp_path / "home").stat().st_uid == 0:
        monkeypatch.setattr(code_cache, "_ROOT", -1)
    assert list(code_cache.folders(source)) == [code_cache.beside(source)]


def test_a_folder_of_the_environment_is_used_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    (folder,) = code_cache.folders(source)
    assert folder.parent == tmp_path / "chosen"
    assert code_cache.store("a", source, b"code") == folder
