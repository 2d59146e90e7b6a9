"""Checksum lists: sha256sum reads them, and runs side by side lose no line."""

import hashlib
import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.errors import ArchiveError, DamagedError
from cryofs.storage import checksum_lists
from cryofs.storage.checksum_lines import encode_line
from cryofs.storage.checksum_lists import LIST_NAME, ChecksumLists, read_list, recorded, replacing, update
from tests.full_disk import full_disk

ODD_NAMES = [
    b"plain.eer",
    b" space",
    b"*star",
    b"#comment",
    b"a\\b",
    b"\\",
    b"line\nfeed",
    b"car\rriage",
    b"\xff\xfe",
    b"'\"",
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ONE, OTHER = sha256(b"one"), sha256(b"other")


def test_sha256sum_reads_what_is_written_and_writes_the_same(tmp_path: Path) -> None:
    for number, name in enumerate(ODD_NAMES):
        (tmp_path / os.fsdecode(name)).write_text(str(number))
    update(tmp_path, {os.fsdecode(name): sha256(str(number).encode()) for number, name in enumerate(ODD_NAMES)})
    check = ["sha256sum", "--strict", "-c", LIST_NAME]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.count(b": OK") == len(ODD_NAMES)
    (tmp_path / "plain.eer").write_text("flipped")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    (tmp_path / "plain.eer").write_text("0")
    written = subprocess.run(["sha256sum", "--", *sorted(ODD_NAMES)], cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / LIST_NAME).read_bytes() == written.stdout


def test_lines_are_added_replaced_and_removed(tmp_path: Path) -> None:
    assert read_list(tmp_path) == {}
    update(tmp_path, {"a": ONE, "b": ONE})
    update(tmp_path, {"b": OTHER, "c": ONE})
    update(tmp_path, {"a": None})
    assert read_list(tmp_path) == {"b": OTHER, "c": ONE}
    assert (recorded(tmp_path / "b"), recorded(tmp_path / "a")) == (OTHER, None)
    update(tmp_path, {"b": None, "c": None})
    assert not list(tmp_path.iterdir())
    update(tmp_path, {"b": None})
    assert not list(tmp_path.iterdir())


def test_what_sha256sum_reads_is_read(tmp_path: Path) -> None:
    (tmp_path / LIST_NAME).write_bytes(f"# by hand\n{ONE.upper()} *binary\n\n{OTHER}  last".encode())
    assert read_list(tmp_path) == {"binary": ONE, "last": OTHER}
    update(tmp_path, {"last": None})
    assert (tmp_path / LIST_NAME).read_bytes() == b"# by hand\n" + encode_line("binary", ONE)


@pytest.mark.parametrize(
    "bad",
    [
        b"0123  short",
        ONE.encode() + b" one space",
        ONE.encode() + b"  sub/file",
        ONE.encode() + b"  ..",
        b"\\" + ONE.encode() + b"  unknown\\escape",
        b"\0" * 80,
        OTHER.encode() + b"  good\n" + ONE.encode() + b"  good",
    ],
)
def test_a_damaged_line_is_an_error_and_stays(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / LIST_NAME).write_bytes(encode_line("a", ONE) + bad + b"\n")
    with pytest.raises(DamagedError, match=f"{LIST_NAME}, line [23]: invalid"):
        read_list(tmp_path)
    assert recorded(tmp_path / "a") == ONE
    assert recorded(tmp_path / "good") is None
    for _ in range(2):
        update(tmp_path, {"b": OTHER})
        assert set(bad.split(b"\n")) < set((tmp_path / LIST_NAME).read_bytes().split(b"\n"))
        with pytest.raises(DamagedError):
            read_list(tmp_path)
    update(tmp_path, {"good": ONE})
    assert recorded(tmp_path / "good") == ONE


@pytest.mark.parametrize("call", [read_list, lambda folder: update(folder, {"a": ONE})])
def test_a_list_that_is_a_link_is_refused(tmp_path: Path, call: Callable[[Path], object]) -> None:
    (tmp_path / "elsewhere").write_bytes(encode_line("a", OTHER))
    (tmp_path / LIST_NAME).symlink_to("elsewhere")
    with pytest.raises(ArchiveError, match="not a regular file"):
        call(tmp_path)
    assert (tmp_path / "elsewhere").read_bytes() == encode_line("a", OTHER)


def _write_lines(folder: Path, first: int) -> None:
    for number in range(first, first + 40):
        update(folder, {str(number): ONE})


def test_runs_side_by_side_keep_each_others_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_write_lines, args=(tmp_path, 40 * number)) for number in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert set(read_list(tmp_path)) == set(map(str, range(120)))
    assert [path.name for path in tmp_path.iterdir()] == [LIST_NAME]


def test_a_line_is_gone_before_its_file_is_replaced(tmp_path: Path) -> None:
    update(tmp_path, {"a": ONE, "b": ONE})
    with replacing(tmp_path / "a", ONE):
        assert recorded(tmp_path / "a") == ONE
    with replacing(tmp_path / "a", OTHER):
        assert read_list(tmp_path) == {"b": ONE}
    with replacing(tmp_path / "b"):
        assert read_list(tmp_path) == {}
    with replacing(tmp_path / "c"):
        pass


def test_a_run_does_not_record_a_file_that_another_run_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"one")
    lists = ChecksumLists()
    lists.add(target, ONE, target.stat())
    (tmp_path / "new").write_bytes(b"other")
    (tmp_path / "new").replace(target)
    lists.flush()
    assert recorded(target) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_lines_wait_for_their_batch_and_are_reported_once_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum_lists, "_BATCH_FILES", 3)
    written: list[Path] = []
    places = [tmp_path / "one", tmp_path / "other"]
    for place in places:
        place.mkdir()
    with ChecksumLists(written.append) as lists:
        for number in range(4):
            lists.add(places[number % 2] / str(number), ONE)
            assert len(written) == (3 if number >= 2 else 0)
        assert lists.recorded(places[0] / "0") == ONE
        assert lists.recorded(places[1] / "3") is None
    assert len(written) == 4
    assert lists.recorded(places[1] / "3") == ONE
    assert all(recorded(path) == ONE for path in written)


def test_lines_are_written_after_an_error(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ChecksumLists() as lists:
            lists.add(tmp_path / "a", ONE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert recorded(tmp_path / "a") == ONE


def test_a_file_that_is_gone_when_its_line_is_written(tmp_path: Path) -> None:
    errors: dict[Path, Exception] = {}
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"one")
    with ChecksumLists(on_error=errors.__setitem__) as lists:
        for name in ("a", "b"):
            lists.add(tmp_path / name, ONE, (tmp_path / name).stat())
        (tmp_path / "a").unlink()
    assert list(errors) == [tmp_path / "a"]
    assert read_list(tmp_path) == {"b": ONE}


@pytest.mark.parametrize("before", [{}, {"a": ONE}])
def test_a_full_disk_at_any_step(tmp_path: Path, before: dict[str, str]) -> None:
    number = steps = 0
    while steps >= number:
        folder = tmp_path / str(number)
        folder.mkdir()
        update(folder, before)
        errors: dict[Path, Exception] = {}
        with full_disk(number) as disk, ChecksumLists(on_error=errors.__setitem__) as lists:
            lists.add(folder / "b", OTHER)
        steps = disk.steps
        assert [LIST_NAME] * bool(before) <= [path.name for path in folder.iterdir()] <= [LIST_NAME]
        assert read_list(folder) in (before, {**before, "b": OTHER})
        if steps > number:
            assert str(folder) in str(errors[folder / "b"])
        update(folder, {"b": OTHER})
        assert read_list(folder) == {**before, "b": OTHER}
        number += 1
    assert number > 5


def test_the_list_keeps_its_mode(tmp_path: Path) -> None:
    update(tmp_path, {"a": ONE})
    (tmp_path / LIST_NAME).chmod(0o640)
    update(tmp_path, {"b": ONE})
    assert (tmp_path / LIST_NAME).stat().st_mode & 0o777 == 0o640
