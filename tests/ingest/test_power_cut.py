"""A power cut at any moment of a change of an archived movie loses no bytes."""

import os
import shutil
from pathlib import Path

import pytest

from cryofs.archive.recovery import recover
from cryofs.system.renaming import EXCHANGE
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import Change, archive_now, shown, writable
from tests.power_cut import recorded, states, write_tree
from tests.support import archive, written_movie


def thaw(files: WritableFileSystem) -> None:
    files.release(files.open("/a.mrc", os.O_RDWR))


def ingest(files: WritableFileSystem) -> None:
    archive_now(files, "a.mrc")


def remove(files: WritableFileSystem) -> None:
    files.names.remove("/a.mrc")


def move(files: WritableFileSystem) -> None:
    files.names.move("/a.mrc", "/b.mrc", 0)


def exchange(files: WritableFileSystem) -> None:
    files.names.move("/a.mrc", "/b.mrc", EXCHANGE)


CHANGES = pytest.mark.parametrize(
    ("change", "stored", "after"),
    [
        (thaw, ("a.mrc.tif",), {"a.mrc": "a.mrc"}),
        (ingest, ("a.mrc",), {"a.mrc": "a.mrc"}),
        (remove, ("a.mrc.tif",), {}),
        (exchange, ("a.mrc.tif", "b.mrc.tif"), {"a.mrc": "b.mrc", "b.mrc": "a.mrc"}),
        (exchange, ("a.mrc.tif", "b.mrc"), {"a.mrc": "b.mrc", "b.mrc": "a.mrc"}),
        (move, ("a.mrc.tif", "b.mrc.tif"), {"b.mrc": "a.mrc"}),
        (move, ("a.mrc.tif", "b.mrc"), {"b.mrc": "a.mrc"}),
        (move, ("a.mrc", "b.mrc.tif"), {"b.mrc": "a.mrc"}),
    ],
    ids=[
        "thaw",
        "ingest",
        "remove",
        "exchange of archived movies",
        "exchange of an archived and a plain file",
        "archived over archived",
        "archived over plain",
        "plain over archived",
    ],
)


def make(tmp_path: Path, stored: tuple[str, ...]) -> tuple[Path, dict[str, bytes]]:
    """An archive with these files of two movies, and the bytes of both."""
    for seed, name in enumerate(("a.mrc", "b.mrc")):
        written_movie(tmp_path / "session" / name, seed)
    archive(tmp_path / "session", tmp_path / "made")
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in stored:
        shutil.copy2((tmp_path / "made" if name.endswith(".tif") else tmp_path / "session") / name, folder)
    return folder, {name: (tmp_path / "session" / name).read_bytes() for name in ("a.mrc", "b.mrc")}


@CHANGES
def test_a_power_cut_leaves_the_old_or_the_new_files(
    tmp_path: Path, change: Change, stored: tuple[str, ...], after: dict[str, str]
) -> None:
    folder, originals = make(tmp_path, stored)
    before = shown(folder)
    expected = {name: originals[which] for name, which in after.items()}
    # a rename changes two names, of which a power cut may keep one; the new one is never lost
    half = expected | {"a.mrc": originals["a.mrc"]}
    with writable(folder, settle=1000) as files, recorded(folder) as recorder:
        change(files)
    assert shown(folder) == expected
    seen, had_both = [], False
    for moment, state in states(recorder):
        place = tmp_path / "cut"
        write_tree(state, place)
        had_both = had_both or any({name, f"{name}.tif"} <= state.keys() for name in originals)
        recover(place, pytest.fail)
        seen.append(shown(place))
        assert seen[-1] in (before, expected, half), moment
        shutil.rmtree(place)
    assert had_both == (change in (thaw, ingest) or set(map(len, stored)) == {5, 9})
    assert seen[0] == before
    assert seen[-1] == expected


@pytest.mark.parametrize("kept", ["everything", "no hidden files"])
@CHANGES
def test_a_backup_from_the_middle_of_a_change(
    tmp_path: Path, change: Change, stored: tuple[str, ...], after: dict[str, str], kept: str
) -> None:
    """As cp and rsync make one, with other inodes and without attributes: no other bytes are shown, no file is lost."""
    folder, originals = make(tmp_path, stored)
    with writable(folder, settle=1000) as files, recorded(folder) as recorder:
        change(files)
    for moment, state in states(recorder):
        if "all names: True, all data: True" not in moment:
            continue
        write_tree(state, tmp_path / "state")
        restored = tmp_path / "restored"
        restored.mkdir()
        for path in sorted((tmp_path / "state").iterdir()):
            if not (kept == "no hidden files" and path.name.startswith(".")):
                shutil.copyfile(path, restored / path.name)
                os.utime(restored / path.name, ns=(0, path.stat().st_mtime_ns))
        before = {path.name for path in restored.glob("[!.]*")}
        for _ in range(2):
            recover(restored, lambda _: None)
        for name, data in shown(restored).items():
            if isinstance(data, str):
                assert "differs from the original" in data, moment
                assert {name, f"{name}.tif"} <= before, moment
            else:
                assert data in originals.values(), moment
        assert {path.name for path in restored.glob("[!.]*")} == before, moment
        shutil.rmtree(restored)
        shutil.rmtree(tmp_path / "state")


def test_a_backup_restored_over_a_movie_that_was_changed_since(tmp_path: Path) -> None:
    """Without --delete: the archived movie of the backup beside the changed plain file; neither is lost or shown."""
    folder, originals = make(tmp_path, ("a.mrc.tif",))
    shutil.copytree(folder, tmp_path / "backup")
    with writable(folder, settle=1000) as files:
        handle = files.open("/a.mrc", os.O_RDWR)
        files.write(handle, memoryview(b"changed"), 2000)
        files.release(handle)
    changed = (folder / "a.mrc").read_bytes()
    shutil.copytree(tmp_path / "backup", folder, dirs_exist_ok=True)
    for _ in range(2):
        recover(folder, pytest.fail)
        assert "differs from the original" in str(shown(folder)["a.mrc"])
    assert (folder / "a.mrc").read_bytes() == changed != originals["a.mrc"]
    # a user decides, by a rename in the archive
    (folder / "a.mrc").rename(folder / "mine.mrc")
    assert shown(folder) == {"a.mrc": originals["a.mrc"], "mine.mrc": changed}
