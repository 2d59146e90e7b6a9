"""Packed movies in the file system: the unpacked movie beside each, its size, its index, and damage."""

import contextlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.config.settings import Size
from cryofs.errors import CryofsError, FormatError, StuckError
from cryofs.movies.packed import PACKED
from cryofs.storage.byte_source import LocalFile
from cryofs.system import deadlines
from cryofs.vfs import damage
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.index_db import index_path
from tests.formats.packed_samples import WAYS, sample
from tests.support import listed_in, wait_for
from tests.vfs.serving import content, names, serving

ONE_OF_EACH = ("bzip2", "gzip", "xz", "zstd", "zstd from a pipe", "pigz -i", "xz -T2")


def write_packed(folder: Path, name: str, way: str, data: bytes) -> Path:
    suffix, pack = WAYS[way]
    path = folder / f"{name}{suffix}"
    path.write_bytes(pack(data))
    return path


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are surveyed."""
    done: list[str] = []
    survey = PACKED.survey

    def counted(source: object) -> object:
        done.append(source.name)  # type: ignore[attr-defined]
        return survey(source)  # type: ignore[arg-type]

    monkeypatch.setattr(type(PACKED), "survey", lambda self, source: counted(source))
    return done


@pytest.mark.parametrize("way", ONE_OF_EACH)
def test_the_movie_appears_beside_the_packed_file(way: str, tmp_path: Path) -> None:
    data = sample(1_500_000)
    path = write_packed(tmp_path, "a.mrc", way, data)
    with serving(tmp_path) as files:
        assert sorted(names(files, "/")) == ["a.mrc", path.name]
        assert content(files, "/a.mrc") == data
        assert content(files, f"/{path.name}") == path.read_bytes()
        stat, own = files.attributes(f"/{path.name}"), files.attributes("/a.mrc")
        assert (own.mode, own.mtime_ns, own.size) == (stat.mode, stat.mtime_ns, len(data))
        assert own.inode != stat.inode
        assert content(files, "/@counts/a.mrc") == data
        with pytest.raises(FileNotFoundError):
            files.attributes("/@archive/a.mrc")


def test_random_reads_of_several_threads(tmp_path: Path) -> None:
    data = sample(20_000_000)
    write_packed(tmp_path, "a.mrc", "gzip", data)
    rng = random.Random(1)
    wrong: list[int] = []
    with serving(tmp_path, cache_size=Size(16 << 20)) as files:
        handle = files.open("/a.mrc")

        def read(seed: int) -> None:
            own = random.Random(seed)
            for _ in range(15):
                at, size = own.randrange(len(data)), own.choice([100, 4096, 1 << 20])
                if bytes(files.read(handle, size, at)) != data[at : at + size]:
                    wrong.append(at)

        threads = [threading.Thread(target=read, args=(rng.random(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bytes(files.read(handle, len(data), 0)) == data
        files.release(handle)
    assert not wrong


def test_names_in_capitals_and_precedence(tmp_path: Path) -> None:
    data = sample(5000)
    (tmp_path / "A.MRC.BZ2").write_bytes(WAYS["bzip2"][1](data))
    (tmp_path / "b.mrcs.Gz").write_bytes(WAYS["gzip"][1](data))
    (tmp_path / "c.mrc").write_bytes(b"its own")
    write_packed(tmp_path, "c.mrc", "xz", data)
    write_packed(tmp_path, "d.mrc", "xz", data[:100])
    write_packed(tmp_path, "d.mrc", "gzip", data[:200])
    (tmp_path / "e.gz").write_bytes(WAYS["gzip"][1](data))
    with serving(tmp_path) as files:
        shown = ["A.MRC", "b.mrcs", "c.mrc", "d.mrc"]
        assert sorted(names(files, "/")) == sorted(
            [*(path.name for path in tmp_path.iterdir()), "A.MRC", "b.mrcs", "d.mrc"]
        )
        assert [content(files, f"/{name}") for name in shown] == [data, data, b"its own", data[:200]]


def test_a_link_with_another_name(tmp_path: Path) -> None:
    data = sample(5000)
    (tmp_path / "data").write_bytes(WAYS["bzip2"][1](data))
    (tmp_path / "a.mrc.bz2").symlink_to("data")
    with serving(tmp_path) as files:
        assert content(files, "/a.mrc") == data


def test_listings_do_not_wait_and_sizes_are_exact(tmp_path: Path, surveys: list[str]) -> None:
    data = sample(30_000)
    write_packed(tmp_path, "a.mrc", "bzip2", data)
    write_packed(tmp_path, "b.mrc", "xz", data)
    with serving(tmp_path) as files:
        listed = dict(listed_in(files, "/"))
        assert {"a.mrc", "b.mrc"} < set(listed)
        assert files.attributes("/b.mrc").size == len(data)
        assert not surveys
        assert files.attributes("/a.mrc").size == len(data)
        assert len(surveys) == 1
        assert content(files, "/a.mrc") == content(files, "/b.mrc") == data
        assert len(surveys) == 2


def test_one_survey_serves_all_mounts_until_the_file_changes(tmp_path: Path, surveys: list[str]) -> None:
    data = sample(30_000)
    path = write_packed(tmp_path, "a.mrc", "gzip", data)
    for _ in range(3):
        with serving(tmp_path) as files:
            assert content(files, "/a.mrc") == data
    assert len(surveys) == 1
    path.write_bytes(WAYS["gzip"][1](data[:20_000]))
    with serving(tmp_path) as files:
        assert content(files, "/a.mrc") == data[:20_000]
    assert len(surveys) == 2


def test_a_damaged_index_is_made_again(tmp_path: Path, surveys: list[str]) -> None:
    data = sample(30_000)
    write_packed(tmp_path, "a.mrc", "gzip", data)
    with serving(tmp_path) as files:
        assert content(files, "/a.mrc") == data
    index = index_path(tmp_path)
    assert index is not None
    index.write_bytes(b"damaged")
    with serving(tmp_path) as files:
        assert content(files, "/a.mrc") == data
    assert len(surveys) == 2


@pytest.mark.parametrize("way", ONE_OF_EACH)
@pytest.mark.parametrize(
    "change", [lambda data: data[:-20], lambda data: data[:200], lambda data: b"", lambda data: b"text"]
)
def test_a_damaged_file_has_size_1_and_no_bytes(way: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write_packed(tmp_path, "a.mrc", way, sample(400_000))
    path.write_bytes(change(path.read_bytes()))
    with serving(tmp_path) as files:
        assert sorted(names(files, "/")) == ["a.mrc", path.name]
        states_size = way in ("xz", "xz -T2", "zstd") and path.stat().st_size > 400
        for _ in range(2):
            if not states_size:
                assert files.attributes("/a.mrc").size == 1
            with pytest.raises(FormatError, match=r"a\.mrc\."):
                files.open("/a.mrc")
        assert content(files, f"/{path.name}") == path.read_bytes()


def test_damage_is_remembered(tmp_path: Path, surveys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_packed(tmp_path, "a.mrc", "bzip2", sample(30_000))
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.setattr(damage, "_SETTLED_SECONDS", -10.0)
    for _ in range(2):
        with serving(tmp_path) as files:
            assert [files.attributes("/a.mrc").size for _ in range(3)] == [1, 1, 1]
            assert files.facts()["damaged_files"] == 1
    assert len(surveys) == 1


def test_waiting_requests_share_one_survey(tmp_path: Path, surveys: list[str]) -> None:
    data = sample(3_000_000)
    write_packed(tmp_path, "a.mrc", "bzip2", data)
    found: list[int] = []
    with serving(tmp_path) as files:
        threads = [threading.Thread(target=lambda: found.append(files.attributes("/a.mrc").size)) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert content(files, "/a.mrc") == data
        for thread in threads:
            thread.join()
    assert found == [len(data)] * 8
    assert len(surveys) == 1


def test_a_request_with_a_deadline_leaves_the_survey_to_the_next(
    tmp_path: Path, surveys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, go_on = sample(300_000), threading.Event()
    write_packed(tmp_path, "a.mrc", "bzip2", data)
    survey = type(PACKED).survey
    monkeypatch.setattr(type(PACKED), "survey", lambda self, source: go_on.wait(20) and survey(self, source))
    with serving(tmp_path) as files:
        for ask in (files.attributes, files.open):
            with deadlines.within(0.1), pytest.raises(StuckError, match="still being unpacked for the first time"):
                ask("/a.mrc")
        go_on.set()
        with deadlines.within(20):
            assert content(files, "/a.mrc") == data
    assert len(surveys) == 1


def test_a_read_after_the_file_was_overwritten_fails(tmp_path: Path) -> None:
    data = sample(3_000_000)
    path = write_packed(tmp_path, "a.mrc", "zstd", data)
    with serving(tmp_path) as files:
        handle = files.open("/a.mrc")
        assert bytes(files.read(handle, 10, 0)) == data[:10]
        with path.open("r+b") as file:
            file.write(WAYS["zstd"][1](sample(3_000_000, seed=5)))
        with pytest.raises(CryofsError):
            files.read(handle, 10, 2_500_000)
        files.release(handle)


def test_storage_that_hangs_ends_the_wait_for_a_survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample(3_000_000)
    path = write_packed(tmp_path, "a.mrc", "bzip2", data)
    hangs, responds = path.stat().st_size // 2, threading.Event()

    def read(descriptor: int, size: int, offset: int) -> bytes:
        if offset > hangs:
            responds.wait(20)
        return os.pread(descriptor, size, offset)

    with serving(tmp_path, request_timeout=0.3) as files:
        monkeypatch.setattr(LocalFile, "_pread", staticmethod(read))
        monkeypatch.setattr(LocalFile, "read_cached", lambda *_: None)
        with pytest.raises(StuckError, match=r"a\.mrc\.bz2"):
            files.attributes("/a.mrc")
        responds.set()
        assert wait_for(lambda: _size(files)) == len(data)
        assert content(files, "/a.mrc") == data


def _size(files: FileSystem) -> int | None:
    with contextlib.suppress(StuckError):
        return files.attributes("/a.mrc").size
    return None
