"""`cryofs ingest`: which movies it takes, which wait, and which stay plain."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.ingest.draft import DraftOptions
from cryofs.ingest.run import IngestOptions
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.storage import checksum_lists
from cryofs.storage.archive_lock import Activity, ArchiveLock
from tests.ingest.runs import figures, ingested, noise
from tests.outcomes import verified
from tests.support import archive, assert_verified, names, restored, run_in_process, simulated, written_movie
from tests.twins import alter, make_twins


def test_movies_of_a_folder_are_replaced_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    originals = {
        name: written_movie(folder / name, seed).read_bytes() for seed, name in enumerate(["a.mrc", "b/c.MRCS"])
    }
    (folder / "notes.txt").write_text("300 kV")
    summary, listener = ingested(folder)
    assert figures(summary) == (2, 0, 0, 0)
    assert listener.done == [Path("a.mrc"), Path("b/c.MRCS")]
    assert listener.counted == listener.expected == 6
    assert sorted(path.name for path in folder.rglob("*")) == ["a.mrc.tif", "b", "c.MRCS.tif", "notes.txt"]
    back = restored(folder, tmp_path / "back")
    assert {name: (back / name).read_bytes() for name in originals} == originals
    assert summary.original_bytes == sum(map(len, originals.values()))
    assert summary.stored_bytes == sum(path.stat().st_size for path in folder.rglob("*.tif"))
    # a second run finds nothing to do
    assert figures(ingested(folder)[0]) == (0, 0, 0, 0)


def test_a_movie_that_is_too_new_waits(tmp_path: Path) -> None:
    written_movie(tmp_path / "a.mrc")
    # times that a program sets, as rsync does, do not count
    os.utime(tmp_path / "a.mrc", (0, 0))
    assert figures(ingested(tmp_path, IngestOptions(settle=30))[0]) == (0, 1, 0, 0)
    assert names(tmp_path) == ["a.mrc"]


@pytest.mark.parametrize("size", [-1, 1, 6000])
def test_a_movie_whose_size_is_not_that_of_its_header_waits(tmp_path: Path, size: int) -> None:
    path = written_movie(tmp_path / "a.mrc")
    os.truncate(path, path.stat().st_size + size)
    assert figures(ingested(tmp_path)[0]) == (0, 1, 0, 0)
    assert names(tmp_path) == ["a.mrc"]


def test_a_movie_that_is_open_waits(tmp_path: Path) -> None:
    with written_movie(tmp_path / "a.mrc").open("r+b"):
        assert figures(ingested(tmp_path)[0]) == (0, 1, 0, 0)
        assert names(tmp_path) == ["a.mrc"]
    assert figures(ingested(tmp_path)[0]) == (1, 0, 0, 0)


def test_the_gain_is_estimated_from_the_movies_that_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    data = {f"{seed}.mrc": simulated(folder / f"{seed}.mrc", 3, seed=seed).read_bytes() for seed in range(2)}
    summary, listener = ingested(folder)
    assert figures(summary) == (2, 0, 0, 0)
    (note,) = listener.notes
    assert note.startswith("gain-reference.mrc: gain estimated from 2 movies, 6 frames (requested): ")
    restored(folder, tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_bytes() for name in data} == data
    assert_verified(folder, 2, all_have_checksums=True)
    assert not (folder / ".cryofs-gain").exists()
    # a later movie with this gain is ingested at once
    simulated(folder / "later.mrc", 3, seed=5)
    summary, listener = ingested(folder)
    assert (figures(summary), listener.notes) == ((1, 0, 0, 0), [])


def test_a_given_reference(tmp_path: Path) -> None:
    simulated(tmp_path / "other" / "a.mrc", 12)
    archive(tmp_path / "other", tmp_path / "archive of others")
    folder = tmp_path / "session"
    data = simulated(folder / "b.mrc", 3, seed=5).read_bytes()
    given = tmp_path / "archive of others" / "gain-reference.mrc"
    assert figures(ingested(folder, IngestOptions(gain_file=given, settle=0))[0]) == (1, 0, 0, 0)
    assert (folder / "gain-reference.mrc").read_bytes() == given.read_bytes()
    assert (restored(folder, tmp_path / "back") / "b.mrc").read_bytes() == data
    assert_verified(folder, 1)


def test_gain_references_that_settings_name_stay_plain(tmp_path: Path) -> None:
    settings = ("given.mrc", ""), ("set.mrc", 'gain = "set.mrc"\n'), ("eer.mrc", 'eer_gain = "eer.mrc"\n')
    for name, _ in settings:
        (tmp_path / name).write_bytes(header((1, 60, 50), 2) + np.ones((60, 50), "<f4").tobytes())
    (tmp_path / "cryofs.toml").write_text("".join(line for _, line in settings))
    options = IngestOptions(gain_file=tmp_path / "given.mrc", settle=0)
    assert figures(ingested(tmp_path, options)[0]) == (0, 0, 3, 0)
    (tmp_path / "cryofs.toml").unlink()
    assert figures(ingested(tmp_path)[0]) == (3, 0, 0, 0)


def test_values_without_a_common_gain_are_stored_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    smooth = rng.normal(size=(6, 60, 50)).astype("<f4").tobytes()
    for name, values in (("random", rng.bytes(len(smooth))), ("smooth", smooth)):
        (tmp_path / f"{name}.mrc").write_bytes(header((6, 60, 50), 2) + values)
    summary, _ = ingested(tmp_path)
    # random bits do not get smaller
    assert figures(summary) == (1, 0, 1, 0)
    assert names(tmp_path) == ["random.mrc", "smooth.mrc.tif"]
    assert_verified(tmp_path, 1)


def test_a_reference_that_a_user_wrote_is_copied_to_the_name_of_its_content(tmp_path: Path) -> None:
    simulated(tmp_path / "other" / "a.mrc", 12)
    archive(tmp_path / "other", tmp_path / "archive of others")
    folder = tmp_path / "session"
    simulated(folder / "Movies" / "b.mrc", 3, seed=5)
    # as RELION writes one beside its movies, with other labels
    data = bytearray((tmp_path / "archive of others" / "gain-reference.mrc").read_bytes())
    data[224:304] = b"by another program".ljust(80)
    (folder / "Movies" / "gain-reference.mrc").write_bytes(data)
    assert figures(ingested(folder)[0]) == (1, 0, 0, 0)
    (own,) = folder.glob("gain-reference-*.mrc")
    assert own.read_bytes() == data
    # the movie depends on the copy
    (folder / "Movies" / "gain-reference.mrc").write_bytes(b"")
    assert_verified(folder, 1)


def test_values_without_a_reference_on_request(tmp_path: Path) -> None:
    data = simulated(tmp_path / "session" / "b.mrc", 3).read_bytes()
    options = IngestOptions(DraftOptions("none", least_saving=-1), settle=0)
    assert figures(ingested(tmp_path / "session", options)[0]) == (1, 0, 0, 0)
    assert (restored(tmp_path / "session", tmp_path / "back") / "b.mrc").read_bytes() == data


@pytest.mark.parametrize("content", ["noise", "text", "empty"])
def test_what_stays_plain_is_not_tried_again_until_it_changes(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.mrc"
    if content == "noise":
        noise(path)
    else:
        path.write_text("not a movie" * 200 if content == "text" else "")
    summary, listener = ingested(tmp_path)
    assert figures(summary) == (0, 0, 1, 0)
    assert "kept plain" in listener.notes[0]
    assert names(tmp_path) == ["a.mrc"]
    assert checksum_lists.recorded(path) is not None
    assert not verified(tmp_path)[1]
    summary, listener = ingested(tmp_path)
    assert (figures(summary), listener.notes, listener.expected) == ((0, 0, 1, 0), [], 0)
    written_movie(path)
    assert figures(ingested(tmp_path)[0]) == (1, 0, 0, 0)
    assert checksum_lists.recorded(path) is None
    assert_verified(tmp_path, 1)


def test_gain_references_links_and_dot_files_are_left_alone(tmp_path: Path) -> None:
    written_movie(tmp_path / "elsewhere" / "a.mrc")
    folder = tmp_path / "session"
    written_movie(folder / "gain-reference.mrc")
    written_movie(folder / ".hidden.mrc")
    (folder / "link.mrc").symlink_to("../elsewhere/a.mrc")
    assert figures(ingested(folder)[0]) == (0, 0, 1, 0)
    assert names(folder) == [".hidden.mrc", "gain-reference.mrc", "link.mrc"]


def test_a_movie_with_hard_links_waits(tmp_path: Path) -> None:
    os.link(written_movie(tmp_path / "session" / "a.mrc"), tmp_path / "b.mrc")
    assert figures(ingested(tmp_path / "session")[0]) == (0, 1, 0, 0)


def test_a_plain_movie_that_equals_its_archived_movie_is_removed(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    os.utime(plain, (1, 1))
    summary, _ = ingested(plain.parent)
    assert (figures(summary), names(plain.parent)) == ((0, 0, 0, 0), [archived.name])


def test_a_plain_movie_that_differs_from_its_archived_movie_is_a_failure(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    alter(plain)
    summary, listener = ingested(plain.parent)
    assert figures(summary) == (0, 0, 0, 1)
    assert str(plain) in listener.errors[0]
    assert names(plain.parent) == [plain.name, archived.name]


def test_the_command(tmp_path: Path) -> None:
    written_movie(tmp_path / "a.mrc")
    (tmp_path / "b.mrc").write_text("not a movie")
    done = run_in_process("ingest", tmp_path, "--settle", 0, "--json")
    facts = json.loads(done.stdout)
    assert [facts[name] for name in ("ingested", "waiting", "kept_plain", "failed")] == [1, 0, 1, 0]
    assert 0 < facts["ratio"] < 1
    with ArchivedMovie(tmp_path / "a.mrc.tif", GainLibrary(tmp_path)) as movie:
        assert movie.record.ingested
    done = run_in_process("ingest", tmp_path)
    assert done.stdout.startswith("0 ingested, 0 waiting, 1 kept plain, 0 failed")


def test_an_archive_in_use_is_refused(tmp_path: Path) -> None:
    written_movie(tmp_path / "a.mrc")
    with ArchiveLock(tmp_path, Activity.COMPRESS):
        done = run_in_process("ingest", tmp_path, "--settle", 0, check=False)
    assert done.returncode == 1
    assert "in use by cryofs compress" in done.stderr
    assert names(tmp_path) == ["a.mrc"]
    done = run_in_process("ingest", tmp_path / "a.mrc", check=False)
    assert "not a folder" in done.stderr
