"""Symbolic and hard links in sources: what leads out is reported, what is linked is stored once, nothing is lost."""

import hashlib
import os
from pathlib import Path

import pytest

from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.summary import Summary
from cryofs.config.choices import LinkChoice
from cryofs.storage.checksum_lists import LIST_NAME, recorded
from tests.privileges import CAN_USE_FUSE
from tests.support import Reported, archive, assert_verified, mounted, names, restored, same_tree, simulated

pytestmark = pytest.mark.timeout(60)


def run(source: Path, target: Path, links: LinkChoice, *, unfinished: bool = False) -> tuple[Summary, Reported]:
    return archive(source, target, CompressOptions(gain="none", links=links, only_do_unfinished=unfinished, jobs=1))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Movies outside of the session."""
    simulated(tmp_path / "raw" / "a.mrc", 3)
    simulated(tmp_path / "raw" / "deep" / "b.mrc", 3, seed=1)
    (tmp_path / "raw" / "notes.txt").write_text("300 kV")
    return tmp_path / "raw"


@pytest.fixture
def session(tmp_path: Path, raw: Path) -> Path:
    """A session whose movies lie elsewhere."""
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "Movies").symlink_to(raw)
    (folder / "one.mrc").symlink_to("../raw/a.mrc")
    (folder / "own.txt").write_text("of the session")
    return folder


@pytest.mark.parametrize("links", ["report", "keep"])
def test_links_that_lead_out_are_stored_as_they_are_and_named(
    session: Path, raw: Path, tmp_path: Path, links: LinkChoice
) -> None:
    summary, reported = run(session, tmp_path / "archive", links)
    assert (summary.links_outside, summary.failed, summary.movies) == (2, 0, 0)
    for name, leads_to in (("Movies", raw), ("one.mrc", raw / "a.mrc")):
        assert (tmp_path / "archive" / name).readlink() == (session / name).readlink()
        (note,) = (note for note in reported.notes if note.startswith(f"{session / name}: "))
        assert f"leads to {leads_to}" in note
        assert ("--follow-links" in note) == (links == "report")


def test_followed_links_are_archived_under_their_names(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    summary, reported = run(session, target, "follow")
    assert (summary.movies, summary.links_outside, reported.errors) == (2, 0, {})
    # the movie that both links lead to is there once
    assert names(target) == ["Movies/a.mrc.tif", "Movies/deep/b.mrc.tif", "Movies/notes.txt", "one.mrc", "own.txt"]
    assert (target / "one.mrc").readlink() == Path("Movies/a.mrc")
    assert_verified(target, 2)
    shown = restored(target, tmp_path / "restored")
    same_tree(session / "Movies", shown / "Movies")
    assert (shown / "one.mrc").read_bytes() == (session / "one.mrc").read_bytes()


@pytest.mark.mounted
@pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
def test_a_mount_shows_what_links_lead_to(session: Path, tmp_path: Path) -> None:
    simulated(session / "deep" / "own.mrc", 3, seed=5)
    (session / "latest.mrc").symlink_to("deep/own.mrc")
    run(session, tmp_path / "archive", "follow")
    originals = {path: path.read_bytes() for path in (session / "one.mrc", session / "latest.mrc")}
    session.rename(tmp_path / "gone")
    with mounted(tmp_path / "archive", tmp_path / "mnt") as mount:
        for path, data in originals.items():
            assert (mount / path.name).is_symlink()
            assert (mount / path.name).read_bytes() == data


@pytest.mark.parametrize("first", ["report", "keep"])
def test_links_are_followed_by_a_later_run(session: Path, tmp_path: Path, first: LinkChoice) -> None:
    target = tmp_path / "archive"
    run(session, target, first)
    summary, reported = run(session, target, "follow", unfinished=True)
    assert (summary.movies, summary.up_to_date, reported.errors) == (2, 1, {})
    assert names(target) == ["Movies/a.mrc.tif", "Movies/deep/b.mrc.tif", "Movies/notes.txt", "one.mrc", "own.txt"]
    # and what is archived is not given up for a link again
    summary, reported = run(session, target, "report", unfinished=True)
    assert (summary.links_outside, reported.errors) == (2, {})
    assert names(target) == ["Movies/a.mrc.tif", "Movies/deep/b.mrc.tif", "Movies/notes.txt", "one.mrc", "own.txt"]


def test_a_movie_behind_a_link_replaces_the_link_of_an_earlier_run(raw: Path, tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    (session / "one.mrc").symlink_to(raw / "a.mrc")
    run(session, target, "report")
    assert names(target) == ["one.mrc"]
    run(session, target, "follow")
    assert names(target) == ["one.mrc.tif"]
    summary, _ = run(session, target, "report")
    assert (summary.links_outside, names(target)) == (1, ["one.mrc.tif"])
    _, reported = run(session, target, "keep")
    assert "name already taken by an archived movie" in str(reported.errors[session / "one.mrc"])


def test_links_within_a_session_stay_as_they_are(tmp_path: Path) -> None:
    session = tmp_path / "session"
    simulated(session / "a.mrc", 3)
    (session / "deep" / "er").mkdir(parents=True)
    for name, text in (
        ("same.mrc", "a.mrc"),
        ("deep/up.mrc", "../a.mrc"),
        ("deep/er/again.mrc", "../up.mrc"),
        ("deep/folder", "./er"),
        ("through.mrc", "deep/folder/again.mrc"),
        ("root", "deep/.."),
        ("dangling", "nowhere"),
        ("dangling outside", "/nowhere"),
        ("loop", "loop"),
    ):
        (session / name).symlink_to(text)
    summary, reported = run(session, tmp_path / "archive", "report")
    assert (summary.movies, summary.links_outside, reported.errors) == (1, 0, {})
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


@pytest.mark.parametrize("text", ["absolute", "../session/a.mrc", "out.mrc"])
def test_a_link_that_leaves_the_session_and_comes_back(tmp_path: Path, text: str) -> None:
    """As it is, it would lead to the original, which the user is about to delete."""
    session = tmp_path / "session"
    movie = simulated(session / "a.mrc", 3)
    (session / "link.mrc").symlink_to(movie if text == "absolute" else text)
    if text == "out.mrc":
        (session / "out.mrc").symlink_to(movie)
    summary, reported = run(session, tmp_path / "archive", "report")
    assert summary.links_outside == (2 if text == "out.mrc" else 1)
    assert f"leads to the original {movie}" in reported.notes[0]
    summary, _ = run(session, tmp_path / "followed", "follow")
    assert (summary.movies, summary.links_outside, summary.failed) == (1, 0, 0)
    assert (tmp_path / "followed" / "link.mrc").readlink() == Path("a.mrc")


@pytest.mark.parametrize("leads_to", [".", "..", "archive", "archive/deep"])
def test_links_into_the_archive_or_to_a_folder_above_are_not_followed(tmp_path: Path, leads_to: str) -> None:
    session, target = tmp_path / "session", tmp_path / "session" / "archive"
    (target / "deep").mkdir(parents=True)
    (session / "notes.txt").write_text("x")
    link = session / "link"
    link.symlink_to(session / leads_to)
    summary, reported = run(session, target, "report")
    assert (summary.links_outside, reported.errors) == (1, {})
    _, reported = run(session, tmp_path / "other" if "archive" not in leads_to else target, "follow")
    if leads_to == ".":
        assert "leads to a folder above itself" in str(reported.errors[link])
    else:
        assert ("into the archive" if "archive" in leads_to else "above itself") in str(reported.errors[link])


def test_folders_that_link_to_each_other_are_followed_once(tmp_path: Path) -> None:
    session = tmp_path / "session"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    (tmp_path / "one" / "to two").symlink_to(tmp_path / "two")
    (tmp_path / "two" / "to one").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "back").symlink_to(session)
    session.mkdir()
    (session / "start").symlink_to(tmp_path / "one")
    (session / "whole").symlink_to(tmp_path / "two")
    _, reported = run(session, tmp_path / "archive", "follow")
    assert not reported.errors
    files = [name for name in names(tmp_path / "archive") if not (tmp_path / "archive" / name).is_symlink()]
    assert files == ["start/one.txt", "whole/two.txt"]
    for name in ("start/to two/two.txt", "whole/to one/one.txt", "start/back/whole/two.txt"):
        assert (tmp_path / "archive" / name).read_text() == Path(name).stem


def test_eer_links_become_links_to_fractions(tmp_path: Path) -> None:
    from cryofs.archive.scan import Kind, collect

    session = tmp_path / "session"
    session.mkdir()
    (session / "x.eer").write_bytes(b"x")
    (session / "link.eer").symlink_to("x.eer")
    jobs, problems = collect([session], tmp_path / "archive", render_eer=True)
    (link,) = (job for job in jobs if job.kind is Kind.LINK)
    assert (link.target, link.link, problems) == (Path("link.mrc"), Path("x.mrc"), [])


def test_a_link_named_like_a_gain_reference_is_a_movie(tmp_path: Path) -> None:
    """Mounts hide the name, unless an archived movie has it."""
    session = tmp_path / "session"
    simulated(session / "a.mrc", 3)
    (session / "gain-reference.mrc").symlink_to("a.mrc")
    summary, _ = run(session, tmp_path / "archive", "report")
    assert summary.movies == 2
    assert names(tmp_path / "archive") == ["a.mrc.tif", "gain-reference.mrc.tif"]


@pytest.mark.parametrize("unfinished", [False, True])
def test_files_with_several_names_are_copied_once(tmp_path: Path, unfinished: bool) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    (session / "deep").mkdir(parents=True)
    (session / "a.txt").write_text("once")
    for name in ("b.txt", "deep/c.txt"):
        os.link(session / "a.txt", session / name)
    for _ in range(2):
        summary, reported = run(session, target, "report", unfinished=unfinished)
        assert not reported.errors
        assert summary.copied + summary.up_to_date == 3
        assert (target / "a.txt").stat().st_nlink == 3
        assert (target / "deep" / "c.txt").samefile(target / "b.txt")
    for name in ("a.txt", "b.txt", "deep/c.txt"):
        assert recorded(target / name) == hashlib.sha256(b"once").hexdigest()


def test_a_further_name_of_a_file_becomes_one_of_its_copy(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    (session / "b.txt").write_text("once")
    (session / "other.txt").write_text("other")
    run(session, target, "report", unfinished=True)
    os.link(session / "b.txt", session / "c.txt")
    (session / "other.txt").unlink()
    os.link(session / "b.txt", session / "other.txt")
    _, reported = run(session, target, "report", unfinished=True)
    assert not reported.errors
    assert (target / "b.txt").stat().st_nlink == 3
    same_tree(session, target, ignore=LIST_NAME)
    assert recorded(target / "other.txt") == recorded(target / "b.txt")


def test_where_there_are_no_hard_links_each_name_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tmp_path / "session"
    session.mkdir()
    (session / "a.txt").write_text("twice")
    os.link(session / "a.txt", session / "b.txt")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    summary, reported = run(session, tmp_path / "archive", "report")
    assert (summary.copied, reported.errors) == (2, {})
    same_tree(session, tmp_path / "archive", ignore=LIST_NAME)
