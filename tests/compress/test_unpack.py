"""Packed movies as sources: copied, or unpacked and stored as the movies in them."""

import bz2
import errno
import gzip
import hashlib
import os
from pathlib import Path

import pytest

from cryofs.archive.identify import held_movie
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.run import compress
from cryofs.compress.summary import Summary
from cryofs.movies.registry import open_movie
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.storage.checksum_lists import recorded
from tests.compress.test_plain_copies import movie, noise
from tests.formats.packed_samples import WAYS
from tests.full_disk import full_disk
from tests.support import Reported, assert_verified, names, restored, simulated

pytestmark = pytest.mark.timeout(120)
COPY = CompressOptions(gain="none", jobs=1)
UNPACK = CompressOptions(gain="none", jobs=1, unpack=True)
CONTINUED = CompressOptions(gain="none", jobs=1, unpack=True, only_do_unfinished=True)
NS = 1_600_000_000_123_456_789


def run(source: Path, target: Path, options: CompressOptions = UNPACK) -> tuple[Summary, Reported]:
    reported = Reported()
    return compress([source], target, options, reported), reported


def packed(path: Path, way: str = "bzip2", seed: int = 0) -> bytes:
    """Write a packed movie, `path` plus a suffix; return the bytes of the movie."""
    suffix, pack = WAYS[way]
    data = movie(path, seed).read_bytes() + b"trailing"
    path.unlink()
    target = path.with_name(path.name + suffix)
    target.write_bytes(pack(data))
    os.utime(target, ns=(NS, NS))
    return data


def test_packed_files_are_copied_and_counted(tmp_path: Path) -> None:
    packed(tmp_path / "session" / "a.mrc")
    packed(tmp_path / "session" / "b.mrcs", "gzip")
    (tmp_path / "session" / "notes.txt.gz").write_bytes(gzip.compress(b"300 kV"))
    for options, copied in ((COPY, 3), (CompressOptions(only_do_unfinished=True, jobs=1), 0)):
        summary, _ = run(tmp_path / "session", tmp_path / "archive", options)
        assert (summary.movies, summary.failed, summary.copied, summary.packed) == (0, 0, copied, 2)
    assert (tmp_path / "archive" / "a.mrc.bz2").read_bytes() == (tmp_path / "session" / "a.mrc.bz2").read_bytes()


@pytest.mark.parametrize("way", ["bzip2", "pigz -i", "xz", "zstd from a pipe"])
def test_the_movie_in_a_packed_file_is_stored(way: str, tmp_path: Path) -> None:
    data = packed(tmp_path / "session" / "sub" / "a.mrc", way)
    (source,) = (tmp_path / "session" / "sub").iterdir()
    summary, reported = run(tmp_path / "session", tmp_path / "archive")
    assert (summary.movies, summary.failed, summary.copied, summary.packed) == (1, 0, 0, 0), reported.errors
    assert (summary.original_bytes, summary.kept_plain) == (len(data), 0)
    archived = tmp_path / "archive" / "sub" / "a.mrc.tif"
    assert names(archived.parent) == ["a.mrc.tif"]
    record = held_movie(archived)
    assert record is not None
    assert record.packed is not None
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert (record.packed.name, record.packed.bytes, record.packed.sha256) == (
        source.name, source.stat().st_size, sha256,
    )  # fmt: skip
    assert record.original.name == "a.mrc"
    assert record.original.sha256 == hashlib.sha256(data).hexdigest()
    back = restored(archived, tmp_path / "out") / "a.mrc"
    assert back.read_bytes() == data
    assert back.stat().st_mtime_ns == NS
    assert_verified(tmp_path / "archive", 1, all_have_checksums=True)


def test_a_run_continues_without_unpacking_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(tmp_path / "session" / "a.mrc")
    run(tmp_path / "session", tmp_path / "archive")
    monkeypatch.setattr("cryofs.compress.movie_task.UnpackedMovie", None)
    summary, reported = run(tmp_path / "session", tmp_path / "archive", CONTINUED)
    assert (summary.movies, summary.skipped, summary.failed) == (0, 1, 0), reported.errors


def test_a_changed_packed_file_replaces_the_movie(tmp_path: Path) -> None:
    packed(tmp_path / "session" / "a.mrc")
    run(tmp_path / "session", tmp_path / "archive")
    data = packed(tmp_path / "session" / "a.mrc", seed=1)
    os.utime(tmp_path / "session" / "a.mrc.bz2", ns=(NS, NS + 10**9))
    summary, _ = run(tmp_path / "session", tmp_path / "archive", CONTINUED)
    assert (summary.movies, summary.replaced) == (1, 1)
    with open_movie(tmp_path / "archive" / "a.mrc.tif") as stored:
        assert stored.read_trailing(100, 0) == b"trailing"
    assert (restored(tmp_path / "archive" / "a.mrc.tif", tmp_path / "out") / "a.mrc").read_bytes() == data


@pytest.mark.parametrize("names_of", [("a.mrc", "a.mrc.bz2"), ("a.mrc.bz2", "a.mrc.gz")])
def test_the_second_file_of_a_name_is_refused(names_of: tuple[str, str], tmp_path: Path) -> None:
    session = tmp_path / "session"
    data = movie(session / "a.mrc").read_bytes()
    (session / "a.mrc.bz2").write_bytes(bz2.compress(data))
    (session / "a.mrc.gz").write_bytes(gzip.compress(data))
    for path in session.iterdir():
        if path.name not in names_of:
            path.unlink()
    summary, reported = run(session, tmp_path / "archive")
    assert (summary.movies, summary.failed) == (1, 1)
    (refused,) = reported.errors
    assert refused.name == names_of[1]
    assert f"name already taken by {session / names_of[0]} (a.mrc.tif)" in str(reported.errors[refused])


@pytest.mark.parametrize("kind", ["truncated", "no movie", "noise", "truncated movie", "end missing"])
def test_what_cannot_be_stored_is_copied(kind: str, tmp_path: Path) -> None:
    session = tmp_path / "session"
    data = movie(session / "a.mrc").read_bytes()
    contents = {
        "truncated": bz2.compress(data)[:600],
        "end missing": bz2.compress(data)[:-10],
        "no movie": bz2.compress(b"notes" * 1000),
        "truncated movie": bz2.compress(data[:-100]),
        "noise": bz2.compress(noise(tmp_path / "noise.mrc").read_bytes()),
    }[kind]
    (session / "a.mrc").unlink()
    source = session / "a.mrc.bz2"
    source.write_bytes(contents)
    for options in (UNPACK, CONTINUED):
        summary, reported = run(session, tmp_path / "archive", options)
        assert (summary.movies, summary.failed, summary.kept_plain) == (0, 0, 1), reported.errors
    assert names(tmp_path / "archive") == ["a.mrc.bz2"]
    assert (tmp_path / "archive" / "a.mrc.bz2").read_bytes() == contents
    assert recorded(tmp_path / "archive" / "a.mrc.bz2") == hashlib.sha256(contents).hexdigest()
    summary, _ = run(session, tmp_path / "strict", CompressOptions(gain="none", jobs=1, unpack=True, strict=True))
    assert summary.failed == 1


def test_a_later_run_replaces_the_copy(tmp_path: Path) -> None:
    packed(tmp_path / "session" / "a.mrc")
    run(tmp_path / "session", tmp_path / "archive", COPY)
    summary, reported = run(tmp_path / "session", tmp_path / "archive", CONTINUED)
    assert (summary.movies, summary.replaced) == (1, 0), reported.errors
    assert names(tmp_path / "archive") == ["a.mrc.tif"]


def test_gain_of_packed_movies_is_estimated(tmp_path: Path) -> None:
    originals = {}
    for number in range(2):
        path = simulated(tmp_path / "session" / f"{number}.mrc", seed=number)
        originals[number] = path.read_bytes()
        path.with_suffix(".mrc.zst").write_bytes(WAYS["zstd"][1](originals[number]))
        path.unlink()
    summary, reported = run(tmp_path / "session", tmp_path / "archive", CompressOptions(jobs=2, unpack=True))
    assert (summary.movies, summary.failed) == (2, 0), reported.errors
    assert "gain-reference.mrc" in names(tmp_path / "archive")
    assert summary.ratio is not None
    assert summary.ratio < 0.4
    out = restored(tmp_path / "archive", tmp_path / "out")
    assert {number: (out / f"{number}.mrc").read_bytes() for number in originals} == originals


def test_links_lead_to_the_stored_movie(tmp_path: Path) -> None:
    data = packed(tmp_path / "session" / "a.mrc")
    (tmp_path / "session" / "b.mrc.bz2").symlink_to("a.mrc.bz2")
    summary, reported = run(tmp_path / "session", tmp_path / "archive")
    assert (summary.movies, summary.failed) == (1, 0), reported.errors
    link = tmp_path / "archive" / "b.mrc"
    assert link.readlink() == Path("a.mrc")
    assert (restored(tmp_path / "archive" / "a.mrc.tif", tmp_path / "out") / "a.mrc").read_bytes() == data


def test_lists_name_packed_movies(tmp_path: Path) -> None:
    packed(tmp_path / "Movies" / "a.mrc")
    star = tmp_path / "movies.lst"
    star.write_text(f"{tmp_path / 'Movies' / 'a.mrc.bz2'}\n")
    summary, reported = run(star, tmp_path / "archive")
    assert (summary.movies, summary.failed) == (1, 0), reported.errors


def test_a_disk_that_is_full_at_any_step(tmp_path: Path) -> None:
    data = packed(tmp_path / "session" / "a.mrc")
    step = 0
    while True:
        target = tmp_path / f"archive {step}"
        with full_disk(step) as disk:
            try:
                failed = run(tmp_path / "session", target)[0].failed
            except OSError as error:
                failed = error.errno == errno.ENOSPC
        assert not list(tmp_path.rglob(DRAFT_PREFIX + "*"))
        summary, reported = run(tmp_path / "session", target, CONTINUED)
        assert (summary.failed, summary.movies + summary.skipped) == (0, 1), reported.errors
        if disk.steps <= step:
            break
        assert failed
        step += 1
    assert step > 6
    assert (restored(target, tmp_path / "out") / "a.mrc").read_bytes() == data
