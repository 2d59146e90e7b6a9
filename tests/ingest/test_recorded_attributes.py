"""Attributes of archived movies survive kills and power cuts while they are changed and recorded."""

import contextlib
import itertools
import os
import shutil
from pathlib import Path

import pytest

from cryofs.errors import ChangedError
from cryofs.formats.changed_attributes import CHANGED
from cryofs.formats.record import read_record
from cryofs.ingest.record_attributes import record_changed, recorded_draft, replace_record
from cryofs.storage import changes
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.changing import AttributeChange
from tests.ingest.mounts import KilledError, Killing, writable
from tests.ingest.test_changed_attributes import MODE, NEW, OLD, TIMES, copied, data, made, seen
from tests.movies.test_record_versions import NAMES, RECORDS
from tests.power_cut import recorded, states, write_tree
from tests.vfs.serving import content, serving

__all__ = ["copied", "data", "made"]
CHANGE = AttributeChange(mode=MODE, atime_ns=TIMES[0], mtime_ns=TIMES[1])


def shown(folder: Path) -> bytes:
    with serving(folder) as files:
        return content(files, "/X.mrc")


def record(folder: Path) -> None:
    record_changed(folder, lambda _: None, lambda: None)


def test_a_kill_during_a_change_leaves_all_of_it_or_nothing(copied: Path, data: bytes) -> None:
    (copied / "Y.mrc.tif").unlink()
    found = []
    for calls in itertools.count():
        with writable(copied, settle=1000) as files, pytest.MonkeyPatch.context() as patch:
            disk = Killing(calls)
            patch.setattr(changes, "disk", disk)
            with contextlib.suppress(KilledError):
                files.set_attributes("/X.mrc", CHANGE, None)
        found.append(seen(copied))
        assert shown(copied) == data
        if disk.left:
            break
    assert found[0] == OLD
    assert found[-1] == NEW
    assert set(found) == {OLD, NEW}


def test_a_kill_before_any_call_that_records_changes_nothing_for_readers(
    copied: Path, data: bytes, tmp_path: Path
) -> None:
    (copied / "Y.mrc.tif").unlink()
    stored = copied / "X.mrc.tif"
    with writable(copied, settle=1000) as files:
        files.set_attributes("/X.mrc", CHANGE, None)
    pending = Path(shutil.copy2(stored, tmp_path))
    is_recorded = []
    for calls in itertools.count():
        shutil.copy2(pending, stored)
        with pytest.MonkeyPatch.context() as patch:
            disk = Killing(calls)
            patch.setattr(changes, "disk", disk)
            with contextlib.suppress(KilledError):
                record(copied)
        assert (seen(copied), shown(copied)) == (NEW, data)
        is_recorded.append(CHANGED not in os.listxattr(stored))
        if disk.left:
            break
    assert sorted(is_recorded) == is_recorded
    assert is_recorded.count(False) > 3
    assert is_recorded.count(True) > 1
    # this process stands for the killed one, so its drafts stay
    left = [path.name for path in copied.iterdir() if not path.name.startswith((DRAFT_PREFIX, "gain-"))]
    assert left == ["X.mrc.tif"]


def test_a_change_while_the_record_is_written_is_not_lost(copied: Path) -> None:
    with writable(copied, settle=1000) as files:
        files.set_attributes("/X.mrc", CHANGE, None)
        with recorded_draft(copied / "X.mrc.tif") as (made, source):
            files.set_attributes("/X.mrc", AttributeChange(mode=0o600), None)
            with pytest.raises(ChangedError):
                replace_record(made, source, lambda: None)
    assert seen(copied) == (0o600, *TIMES)


def test_a_power_cut_while_changes_are_recorded_leaves_the_movie(copied: Path, data: bytes, tmp_path: Path) -> None:
    (copied / "Y.mrc.tif").unlink()
    with writable(copied, settle=1000) as files:
        files.set_attributes("/X.mrc", CHANGE, None)
    with recorded(copied) as recorder:
        record(copied)
    found = []
    for moment, state in states(recorder):
        place = tmp_path / "cut"
        write_tree(state, place)
        found.append(seen(place))
        # the simulation has no extended attributes, so the old record counts without them
        assert found[-1] in (OLD, NEW), moment
        assert shown(place) == data, moment
        shutil.rmtree(place)
    assert found[-1] == NEW
    assert len(found) > 3


def test_fsync_makes_a_change_durable(copied: Path) -> None:
    with writable(copied, settle=1000) as files:
        handle = files.open("/X.mrc")
        files.set_attributes("/X.mrc", CHANGE, handle)
        with recorded(copied) as recorder:
            files.sync(handle)
        files.release(handle)
    assert [name for name, _ in recorder.steps] == ["sync"]


@pytest.mark.parametrize("name", NAMES)
def test_records_of_all_versions_are_written_again(tmp_path: Path, name: str) -> None:
    stored = Path(shutil.copy(RECORDS / name, tmp_path / "X.mrc.tif"))
    with LocalFile.open(stored) as source:
        before = read_record(source)
    os.setxattr(stored, CHANGED, b'{"mode":256,"mtime_ns":-5,"atime_ns":7}')
    notes: list[str] = []
    record_changed(tmp_path, notes.append, lambda: None)
    assert notes == [f"{stored}: changed attributes recorded"]
    assert CHANGED not in os.listxattr(stored)
    with LocalFile.open(stored) as source:
        after = read_record(source)
    attributes = after.original.attributes
    assert (attributes.mode, attributes.mtime_ns, attributes.atime_ns) == (256, -5, 7)
    assert (after.frames, after.header, after.gain) == (before.frames, before.header, before.gain)
    assert type(after) is type(before)
