"""Files named like movies that are kept as plain copies, and how archived movies replace them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.compress.run import compress
from cryofs.compress.summary import Summary
from cryofs.error_hints import reason_of
from cryofs.errors import FormatError, NotSmallerError
from cryofs.report.inventory import survey
from cryofs.storage.checksum_lists import LIST_NAME, recorded
from tests.support import Reported, assert_verified, names, same_tree, simulated

pytestmark = pytest.mark.timeout(60)
PLAIN = CompressOptions(gain="none", jobs=1)
UNFINISHED = CompressOptions(gain="none", only_do_unfinished=True, jobs=1)
STRICT = CompressOptions(gain="none", strict=True, jobs=1)


def run(source: Path, target: Path, options: CompressOptions = PLAIN) -> tuple[Summary, Reported]:
    reported = Reported()
    return compress([source], target, options, reported), reported


def movie(path: Path, seed: int = 0) -> Path:
    """A movie that becomes smaller."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).poisson(1, (4, 64, 64)).astype("<i2")
    path.write_bytes(header((4, 64, 64), 1) + values.tobytes())
    return path


def noise(path: Path) -> Path:
    """A movie that does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(-32000, 32000, (4, 64, 64)).astype("<i2")
    path.write_bytes(header((4, 64, 64), 1) + values.tobytes())
    return path


def extended_header_missing() -> bytes:
    raw = bytearray(header((1, 4, 4), 1))
    raw[92:96] = (1 << 20).to_bytes(4, "little")
    return bytes(raw) + bytes(32)


NOT_MOVIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "mode 3": (lambda: header((1, 4, 4), 3) + bytes(64), "mode 3"),
    "mode 4": (lambda: header((1, 4, 4), 4) + bytes(128), "mode 4"),
    "mode 16": (lambda: header((1, 4, 4), 16) + bytes(48), "mode 16"),
    "truncated": (lambda: header((2, 4, 4), 1) + bytes(63), "truncated, 1 bytes"),
    "empty": (lambda: b"", "0 bytes"),
    "extended header missing": (extended_header_missing, "truncated"),
    "not MRC": (lambda: b"a text of some length\n" * 100, ""),
}


@pytest.mark.parametrize("kind", NOT_MOVIES)
def test_what_is_not_a_movie_is_kept_and_named(tmp_path: Path, kind: str) -> None:
    content, reason = NOT_MOVIES[kind]
    session, target = tmp_path / "session", tmp_path / "archive"
    movie(session / "good.mrc")
    (session / "odd.mrc").write_bytes(content())
    summary, reported = run(session, target)
    assert (summary.movies, summary.failed, summary.kept_plain) == (1, 0, 1)
    (note,) = (note for note in reported.notes if "odd.mrc" in note)
    assert "kept as a plain copy" in note
    assert reason in note
    assert names(target) == ["good.mrc.tif", "odd.mrc"]
    assert (target / "odd.mrc").read_bytes() == content()
    assert recorded(target / "odd.mrc") is not None
    ((path, why),) = survey(target).kept_plain
    assert path == target / "odd.mrc"
    assert reason in why


@pytest.mark.parametrize("kind", NOT_MOVIES)
def test_what_is_not_a_movie_is_a_failure_on_request(tmp_path: Path, kind: str) -> None:
    session = tmp_path / "session"
    session.mkdir()
    (session / "odd.mrc").write_bytes(NOT_MOVIES[kind][0]())
    summary, reported = run(session, tmp_path / "archive", STRICT)
    assert (summary.failed, summary.kept_plain) == (1, 0)
    assert isinstance(reported.errors[session / "odd.mrc"], FormatError)
    # nothing is left of a run that did nothing
    assert not (tmp_path / "archive").exists()


def test_a_movie_that_does_not_get_smaller_is_kept_plain(tmp_path: Path) -> None:
    source, target = noise(tmp_path / "session" / "noise.mrc"), tmp_path / "archive"
    summary, reported = run(source.parent, target)
    assert (summary.movies, summary.failed, summary.kept_plain) == (0, 0, 1)
    assert names(target) == ["noise.mrc"]
    assert "of the original size" in reported.notes[0]
    same_tree(source.parent, target, ignore=LIST_NAME)
    _, reported = run(source.parent, tmp_path / "strict", STRICT)
    assert isinstance(reported.errors[source], NotSmallerError)
    assert len(survey(target).kept_plain) == 1


@pytest.mark.parametrize("why", ["no compression", "archived before", "named like a gain reference"])
def test_movies_that_are_stored_whatever_their_size(tmp_path: Path, why: str) -> None:
    name = "gain-reference.mrc" if why == "named like a gain reference" else "a.mrc"
    source, target, options = movie(tmp_path / "session" / name), tmp_path / "archive", PLAIN
    if why == "archived before":
        run(source.parent, target)
    elif why == "no compression":
        options = CompressOptions(gain="none", coding=Coding("none"), jobs=1)
    noise(source)
    summary, reported = run(source.parent, target, options)
    assert (summary.movies, summary.kept_plain, reported.errors) == (1, 0, {})
    assert names(target) == [name + ".tif"]
    assert_verified(target, 1)


def test_the_limit_is_a_twentieth(tmp_path: Path) -> None:
    """A movie of which one frame in ten is empty is stored, one of which one in forty is, is not."""
    values = np.random.default_rng(0).integers(-32000, 32000, (40, 64, 64)).astype("<i2")
    for empty, stored in ((1, 0), (4, 1)):
        values[:empty] = 0
        source = tmp_path / str(empty) / "a.mrc"
        source.parent.mkdir()
        source.write_bytes(header((40, 64, 64), 1) + values.tobytes())
        summary, _ = run(source, tmp_path / f"archive {empty}")
        assert (summary.movies, summary.kept_plain) == (stored, 1 - stored)


def test_a_movie_that_has_arrived_replaces_its_first_part(tmp_path: Path) -> None:
    source, target = movie(tmp_path / "session" / "a.mrc"), tmp_path / "archive"
    whole = source.read_bytes()
    source.write_bytes(whole[:5000])
    run(source.parent, target)
    assert names(target) == ["a.mrc"]
    source.write_bytes(whole)
    summary, reported = run(source.parent, target, UNFINISHED)
    assert (summary.movies, summary.kept_plain, reported.errors) == (1, 0, {})
    assert names(target) == ["a.mrc.tif"]
    assert not (target / LIST_NAME).exists()
    assert_verified(target, 1)


@pytest.mark.parametrize("edited", [False, True])
def test_a_plain_copy_goes_only_if_it_is_what_was_copied(tmp_path: Path, edited: bool) -> None:
    source, target = movie(tmp_path / "session" / "a.mrc"), tmp_path / "archive"
    whole = source.read_bytes()
    source.write_bytes(whole[:5000])
    run(source.parent, target)
    if edited:
        found = (target / "a.mrc").stat()
        (target / "a.mrc").write_bytes(whole[:4999] + b"!")
        os.utime(target / "a.mrc", ns=(found.st_atime_ns, found.st_mtime_ns))
    source.write_bytes(whole)
    for options in (PLAIN, UNFINISHED):
        _, reported = run(source.parent, target, options)
        assert names(target) == (["a.mrc"] if edited else ["a.mrc.tif"])
        assert ("a.mrc: written or changed in the archive" in str(reported.errors.get(source))) == edited


def test_a_run_killed_before_it_removed_the_plain_copy_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = movie(tmp_path / "session" / "a.mrc"), tmp_path / "archive"
    whole = source.read_bytes()
    source.write_bytes(whole[:5000])
    run(source.parent, target)
    source.write_bytes(whole)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("cryofs.compress.movies.remove_plain_copy", "cryofs.compress.plain_copies.update"):
        with monkeypatch.context() as patch:
            patch.setattr(step, killed)
            with pytest.raises(KeyboardInterrupt):
                run(source.parent, target, UNFINISHED)
    assert names(target) == ["a.mrc.tif"]
    assert recorded(target / "a.mrc") is not None
    summary, reported = run(source.parent, target, UNFINISHED)
    assert (summary.skipped, reported.errors) == (1, {})
    assert recorded(target / "a.mrc") is None


def test_a_copy_without_a_checksum_that_is_the_original_goes(tmp_path: Path) -> None:
    source, target = movie(tmp_path / "session" / "a.mrc"), tmp_path / "archive"
    target.mkdir()
    (target / "a.mrc").write_bytes(source.read_bytes())
    assert not run(source.parent, target)[1].errors
    assert names(target) == ["a.mrc.tif"]


def test_a_damaged_source_does_not_replace_an_archived_movie(tmp_path: Path) -> None:
    source, target = movie(tmp_path / "session" / "a.mrc"), tmp_path / "archive"
    run(source.parent, target)
    kept = (target / "a.mrc.tif").read_bytes()
    os.truncate(source, 5000)
    for options in (PLAIN, UNFINISHED):
        summary, reported = run(source.parent, target, options)
        assert (summary.failed, summary.kept_plain) == (1, 0)
        assert "a.mrc.tif was not replaced" in str(reported.errors[source])
        assert names(target) == ["a.mrc.tif"]
        assert (target / "a.mrc.tif").read_bytes() == kept


def test_plain_copies_that_are_up_to_date_are_counted_and_left(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    noise(session / "noise.mrc")
    (session / "empty.mrc").write_bytes(b"")
    (session / "notes.txt").write_text("x")
    run(session, target)
    before = {name: (target / name).stat().st_ino for name in names(target)}
    summary, reported = run(session, target, UNFINISHED)
    assert (summary.kept_plain, summary.copied, summary.failed) == (2, 0, 0)
    assert reported.expected_frames == 0
    assert {name: (target / name).stat().st_ino for name in names(target)} == before
    (target / LIST_NAME).unlink()
    summary, _ = run(session, target, UNFINISHED)
    assert (summary.kept_plain, summary.failed) == (2, 0)
    assert all(recorded(target / name) for name in before)


def test_a_plain_copy_of_another_original_is_reported_as_replaced(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    other = tmp_path / "first" / "a.mrc"
    other.parent.mkdir()
    other.write_bytes(header((1, 4, 4), 4) + bytes(128))
    run(other.parent, target)
    summary, reported = run(movie(tmp_path / "second" / "a.mrc").parent, target)
    assert names(target) == ["a.mrc.tif"]
    assert (summary.movies, summary.replaced) == (1, 1)
    assert any(f"{target / 'a.mrc'}: replaced another original" in note for note in reported.notes)


def test_a_movie_that_has_arrived_is_not_reported_as_another_original(tmp_path: Path) -> None:
    source, target = movie(tmp_path / "session" / "a.mrc"), tmp_path / "archive"
    whole = source.read_bytes()
    for size in (0, 5000):
        source.write_bytes(whole[:size])
        run(source.parent, target)
        source.write_bytes(whole)
        summary, reported = run(source.parent, target, UNFINISHED)
        assert (summary.movies, summary.replaced, reported.errors) == (1, 0, {})
        (target / "a.mrc.tif").unlink()


def test_names_too_long_for_a_movie_cost_no_other_file(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    movie(session / "a.mrc")
    kept, link = f"{'n' * 251}.mrc", f"{'l' * 251}.mrc"
    (session / kept).write_bytes(b"not a movie")
    (session / link).symlink_to("a.mrc")
    summary, reported = run(session, target)
    assert (summary.movies, summary.kept_plain, reported.errors) == (1, 1, {})
    assert (target / kept).read_bytes() == b"not a movie"
    assert (target / link).readlink() == Path("a.mrc")
    # a movie is not stored under another name
    movie(session / kept)
    summary, reported = run(session, target)
    assert (summary.movies, set(reported.errors)) == (1, {session / kept})


def test_a_plain_copy_may_not_hide_as_a_gain_reference(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    (session / "gain-reference.mrc").write_bytes(b"")
    summary, _ = run(session, tmp_path / "archive")
    assert (summary.failed, summary.kept_plain) == (1, 0)


def test_files_that_are_not_movies_take_no_part_in_estimates(tmp_path: Path) -> None:
    session = tmp_path / "session"
    os.truncate(simulated(session / "0.mrc", 40), 1_000_000)
    for number in (1, 2):
        simulated(session / f"{number}.mrc", 20, seed=number)
    summary, reported = run(session, tmp_path / "archive", CompressOptions(jobs=1))
    assert (summary.movies, summary.kept_plain) == (2, 1)
    assert {Path(row.movie).name for row in reported.rows} <= {"1.mrc", "2.mrc"}
    assert any(note.startswith("gain estimated from ") and "gain-reference.mrc" in note for note in reported.notes)


def test_dot_files_are_plain_files(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    movie(session / ".hidden.mrc")
    (session / "._a.mrc").write_bytes(b"apple")
    (session / "._x.eer").write_bytes(b"apple")
    summary, reported = run(session, target)
    assert (summary.movies, summary.copied, summary.kept_plain, summary.suspect) == (0, 3, 0, 0)
    assert (reported.errors, reported.notes) == ({}, [])
    same_tree(session, target, ignore=LIST_NAME)
    assert not survey(target).kept_plain


def test_a_list_of_checksums_is_not_taken_from_a_source(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    (session / "notes.txt").write_text("x")
    (session / LIST_NAME).write_text("of another archive")
    assert not run(session, target)[1].errors
    assert "another" not in (target / LIST_NAME).read_text()
    (session / ".cryofs-precious").write_text("of a user")
    _, reported = run(session, target)
    assert set(reported.errors) == {session / ".cryofs-precious"}
    assert not (target / ".cryofs-precious").exists()


def test_reasons_are_given_without_name_and_remedy(tmp_path: Path) -> None:
    error = FormatError(f"{tmp_path}: too short; copy it again")
    assert reason_of(error, tmp_path) == "too short"
