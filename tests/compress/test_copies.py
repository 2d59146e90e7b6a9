"""Copies of an archive: each has its checksum, and no moment leaves a checksum beside bytes that it is not of."""

import hashlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.archive.verify import verify
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.suspects import damage_of
from cryofs.storage import checksum_lists
from cryofs.storage.checksum_lists import LIST_NAME, read_list, recorded, update
from cryofs.storage.file_state import state_of
from tests.foreign import counts, serialem
from tests.full_disk import full_disk, killed_at
from tests.outcomes import extracted, verified
from tests.support import archive, assert_verified, names, restored, same_tree, simulated

UNFINISHED = CompressOptions(only_do_unfinished=True, jobs=1)
ODD = "odd\nna\\me \udcff.txt"
WIDTHS = Widths()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session of copies alone: an EER file, notes, an odd name, the settings of an archive."""
    folder = tmp_path / "session"
    (folder / "Movies").mkdir(parents=True)
    write_eer(folder / "Movies" / "x.eer", random_frames(8, (64, 80), 0.02, WIDTHS), (64, 80), WIDTHS)
    for name in ("notes.txt", "empty", ODD, "cryofs.toml"):
        (folder / name).write_bytes(b"" if name == "empty" else b"# " + os.fsencode(name) * 3)
    return folder


@pytest.fixture
def made(session: Path, tmp_path: Path) -> Path:
    """Its archive."""
    archive(session, tmp_path / "archive")
    return tmp_path / "archive"


def test_every_copy_has_its_checksum(session: Path, made: Path) -> None:
    for folder in (session, session / "Movies"):
        files = [path for path in folder.iterdir() if path.is_file() and path.name != "cryofs.toml"]
        assert read_list(made / folder.relative_to(session)) == {path.name: sha256(path) for path in files}
    for folder in (made, made / "Movies"):
        subprocess.run(["sha256sum", "--strict", "-c", LIST_NAME], cwd=folder, check=True, capture_output=True)
    done, errors = verified(made)
    assert (done.files, done.without_checksum, done.movies, errors) == (4, 0, 0, [])
    same_tree(session, restored(made, made.with_name("restored")))


def test_a_gain_reference_has_its_checksum(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "a.mrc", frames=6)
    archive(tmp_path / "session", tmp_path / "archive")
    reference = tmp_path / "archive" / "gain-reference.mrc"
    assert read_list(tmp_path / "archive") == {reference.name: sha256(reference)}
    # an archive of an earlier version, or of a run that was killed
    (tmp_path / "archive" / LIST_NAME).unlink()
    archive(tmp_path / "session", tmp_path / "archive", UNFINISHED)
    assert read_list(tmp_path / "archive") == {reference.name: sha256(reference)}


@pytest.mark.parametrize("name", ["Movies/x.eer", "notes.txt", ODD])
def test_a_flipped_bit_is_a_failure(made: Path, name: str) -> None:
    data = bytearray((made / name).read_bytes())
    data[len(data) // 2] ^= 1
    (made / name).write_bytes(data)
    done, (error,) = verified(made)
    assert (done.files, done.failed) == (3, 1)
    assert str(error).startswith(f"{made / name}: checksum mismatch")
    assert "from a backup" in str(error)


def test_large_files_are_hashed_as_they_are_copied(session: Path, tmp_path: Path) -> None:
    large = session / "large"
    large.write_bytes(os.urandom(1 << 20) * 17 + b"end")
    archive(session, tmp_path / "archive")
    assert recorded(tmp_path / "archive" / "large") == sha256(large)


def test_a_copy_without_a_checksum_is_not_done(session: Path, made: Path) -> None:
    before = (made / "notes.txt").stat()
    for folder in (made, made / "Movies"):
        (folder / LIST_NAME).unlink()
    # of the size and time of its source, but not its bytes
    damaged = made / "Movies" / "x.eer"
    found = damaged.stat()
    damaged.write_bytes(bytes(found.st_size))
    os.utime(damaged, ns=(found.st_atime_ns, found.st_mtime_ns))
    summary, reported = archive(session, made, UNFINISHED)
    assert (summary.copied, reported.errors) == (1, {})
    # the same file: it was compared, not copied
    assert (made / "notes.txt").stat().st_ino == before.st_ino
    assert_verified(made, 0, all_have_checksums=True)
    assert sha256(damaged) == recorded(damaged) == sha256(session / "Movies" / "x.eer")
    assert archive(session, made, UNFINISHED)[0].copied == 0


def test_an_unchanged_copy_that_is_made_anew_keeps_its_line(session: Path, made: Path) -> None:
    # reading it may change its time of access
    before = state_of((made / LIST_NAME).stat())
    assert archive(session, made)[0].copied == 5
    assert state_of((made / LIST_NAME).stat()) == before


def change(session: Path) -> None:
    """Change a file, add one, and touch one."""
    (session / "notes.txt").write_text("300 kV")
    (session / "new").write_text("new")
    (session / "empty").touch()


def test_a_kill_at_any_step_leaves_no_line_beside_other_bytes(session: Path, tmp_path: Path) -> None:
    step, killed = 0, True
    target = tmp_path / "archive"
    change(session)
    contents = {path.name: path.read_bytes() for path in session.iterdir() if path.is_file()}
    while killed:
        (session / "notes.txt").write_text("120 kV!")
        (session / "new").unlink(missing_ok=True)
        archive(session, target, UNFINISHED)
        change(session)
        killed = killed_at(step, lambda: archive(session, target, UNFINISHED))
        assert verified(target)[1] == []
        summary, reported = archive(session, target, UNFINISHED)
        assert not reported.errors
        assert killed or summary.copied == 0
        assert_verified(target, 0, all_have_checksums=True)
        assert {name: (target / name).read_bytes() for name in contents} == contents
        subprocess.run(["rm", "-r", target], check=True)
        step += 1
    assert step > 15


def test_a_full_disk_at_any_step_leaves_no_line_beside_other_bytes(session: Path, made: Path) -> None:
    step = steps = 0
    while steps >= step:
        (session / "notes.txt").write_text(f"{step} kV")
        with full_disk(step) as disk:
            summary, _ = archive(session, made, UNFINISHED)
        steps = disk.steps
        assert verified(made)[1] == []
        assert summary.failed or steps <= step
        assert not archive(session, made, UNFINISHED)[1].errors
        assert_verified(made, 0, all_have_checksums=True)
        step += 1
    assert step > 5


def test_runs_side_by_side_into_one_folder(session: Path, made: Path) -> None:
    """Two runs replace the same files by different ones: each line is of the file that stayed."""
    other = session.with_name("other")
    for number in range(8):
        for folder in (session, other):
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.txt").write_text(folder.name)
    runs = [threading.Thread(target=archive, args=(folder, made)) for folder in (session, other) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    done, errors = verified(made)
    assert (errors, done.without_checksum) == ([], 0)


def test_a_movie_that_takes_the_name_of_a_copy_removes_its_line(session: Path, made: Path) -> None:
    movie = simulated(session / "a.mrc", frames=3)
    plain = CompressOptions(gain="none", jobs=1)
    archive(movie, session / "stored", plain)
    copied = made / "a.mrc.tif"
    (session / "stored" / "a.mrc.tif").rename(session / "a.mrc.tif")
    archive(session / "a.mrc.tif", made)
    assert recorded(copied) is not None
    assert (verified(made)[0].movies, verified(made)[0].files) == (1, 5)
    archive(movie, made, plain)
    assert recorded(copied) is None
    assert verified(made)[0].failed == 0


def test_missing_files_and_files_without_a_checksum(made: Path) -> None:
    (made / "notes.txt").unlink()
    (made / "stray.txt").write_text("by hand")
    (made / "link").symlink_to("stray.txt")
    unchecked: list[Path] = []
    errors: list[str] = []
    done = verify(
        [made],
        2,
        lambda _, e: errors.append(str(e)) if e else None,
        lambda *_: None,
        lambda _: None,
        unchecked.append,
    )
    assert (done.files, done.failed, done.without_checksum, done.without_file) == (3, 1, 1, 1)
    assert unchecked == [made / "stray.txt"]
    assert errors[0].startswith(f"{made / 'notes.txt'}: missing, but listed in {LIST_NAME}")


def test_a_damaged_line_is_a_failure_and_the_others_count(made: Path) -> None:
    with (made / LIST_NAME).open("a") as file:
        file.write("0123  notes.txt\n")
    done, (error,) = verified(made)
    assert (done.files, done.failed) == (4, 1)
    assert str(error).startswith(f"{made / LIST_NAME}, line 4: invalid (expected 64 hexadecimal digits")


def test_a_file_that_a_run_replaces_meanwhile(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list was read before the run, the file after it."""
    target = made / "notes.txt"
    replaced: list[int] = []
    load = checksum_lists.load

    def loading(folder: Path) -> object:
        lines = load(folder)
        if folder == made and not replaced:
            replaced.append(target.write_text("new"))
            update(made, {target.name: sha256(target)})
        return lines

    monkeypatch.setattr(checksum_lists, "load", loading)
    done, errors = verified(made)
    assert (done.files, errors) == (4, [])


def test_progress_counts_all_bytes(made: Path) -> None:
    expected: list[int] = []
    counted: list[int] = []
    verify([made], 2, lambda *_: None, lambda _, total: expected.append(total), counted.append)
    assert expected == [sum(counted)]
    assert sum(counted) == sum((made / name).stat().st_size for name in names(made) if name != "cryofs.toml")


def test_extract_restores_no_damaged_copy_and_no_list(made: Path, tmp_path: Path) -> None:
    (made / "notes.txt").write_text("damaged")
    done, (error,) = extracted(made, to=tmp_path / "out")
    assert (done.files, done.failed) == (4, 1)
    assert "checksum mismatch" in str(error)
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert not list((tmp_path / "out").rglob(".cryofs-*"))


def junk(path: Path) -> None:
    path.write_bytes(bytes(1000))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("name", ["x.eer", "x.tif"])
@pytest.mark.parametrize("damage", [junk, cut, emptied])
def test_files_that_look_damaged_are_kept_and_counted(
    session: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    path = session / "Movies" / name
    if name == "x.tif":
        serialem(path, counts())
    assert damage_of(path) is None
    damage(path)
    if name == "x.tif" and damage is not cut:
        # nothing shows that this was a TIFF movie
        assert damage_of(path) is None
        return
    assert damage_of(path)
    summary, reported = archive(session, tmp_path / "archive")
    assert (summary.suspect, summary.failed) == (1, 0)
    assert [f"{path}: looks damaged (" in note for note in reported.notes] == [True]
    assert (tmp_path / "archive" / "Movies" / name).read_bytes() == path.read_bytes()
    # it is what it was when it was archived
    assert verified(tmp_path / "archive")[0].failed == 0


def test_strict_runs_report_damage_that_an_earlier_run_has_copied(session: Path, tmp_path: Path) -> None:
    path = session / "Movies" / "x.eer"
    cut(path)
    archive(session, tmp_path / "archive")
    for strict in (True, False):
        again = CompressOptions(gain="none", only_do_unfinished=True, strict=strict, jobs=1)
        summary, reported = archive(session, tmp_path / "archive", again)
        assert (summary.copied, summary.suspect) == (0, strict)
        assert [f"{path}: looks damaged (" in note for note in reported.notes] == [True] * strict


def test_damaged_mrc_files_are_suspect_and_other_kinds_of_mrc_files_are_not(session: Path, tmp_path: Path) -> None:
    movie = simulated(session / "cut.mrc", frames=3)
    data = bytearray(movie.read_bytes())
    data[12] = 3
    (session / "mode3.mrc").write_bytes(data)
    cut(movie)
    summary, reported = archive(session, tmp_path / "archive")
    assert (summary.kept_plain, summary.suspect, summary.failed, reported.errors) == (2, 1, 0, {})
    assert_verified(tmp_path / "archive", 0, all_have_checksums=True)
