"""A power cut at any moment of a change of an archived movie loses no bytes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.archive.recovery import recover
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import shown, writable
from tests.power_cut import recorded, states, write_tree
from tests.support import archive, written_movie


def thaw(files: WritableFileSystem) -> None:
    files.release(files.open("/a.mrc", os.O_RDWR))


def move(files: WritableFileSystem) -> None:
    files.names.move("/a.mrc", "/b.mrc", 0)


@pytest.mark.parametrize(
    ("change", "stored", "after"),
    [
        (thaw, ("a.mrc.tif",), {"a.mrc": "a.mrc"}),
        (move, ("a.mrc.tif", "b.mrc"), {"b.mrc": "a.mrc"}),
        (move, ("a.mrc", "b.mrc.tif"), {"b.mrc": "a.mrc"}),
    ],
    ids=["thaw", "archived over plain", "plain over archived"],
)
def test_a_power_cut_leaves_the_old_or_the_new_files(
    tmp_path: Path, change: Callable[[WritableFileSystem], None], stored: tuple[str, ...], after: dict[str, str]
) -> None:
    for seed, name in enumerate(("a.mrc", "b.mrc")):
        written_movie(tmp_path / "session" / name, seed)
    archive(tmp_path / "session", tmp_path / "made")
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in stored:
        shutil.copy2((tmp_path / "made" if name.endswith(".tif") else tmp_path / "session") / name, folder)
    originals = {name: (tmp_path / "session" / name).read_bytes() for name in ("a.mrc", "b.mrc")}
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
    assert had_both
    assert seen[0] == before
    assert seen[-1] == expected
