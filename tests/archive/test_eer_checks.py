"""EER files that look damaged: found for doctor and stats."""

import json
from pathlib import Path

import pytest

from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.archive.eer_checks import check_eers
from cryofs.archive.info import savings
from cryofs.doctor.archive import check_archive
from cryofs.doctor.finding import Level
from cryofs.movies.registry import damage
from tests.support import run_in_process

SHAPE = (32, 48)
WIDTHS = Widths()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write_eer(tmp_path / f"{number}.eer", list(random_frames(5, SHAPE, 0.05, WIDTHS, number)), SHAPE, WIDTHS)
    whole = (tmp_path / "0.eer").read_bytes()
    (tmp_path / "cut.eer").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk.eer").write_bytes(b"junk" * 1000)
    (tmp_path / "._0.eer").write_bytes(b"a file of macOS")
    return tmp_path


def test_damaged_files_are_found_among_all(folder: Path) -> None:
    check = savings([folder]).eers
    assert (check.files, check.looked_at) == (6, 6)
    assert set(check.damaged) == {folder / "cut.eer", folder / "junk.eer"}
    assert check.damaged[folder / "cut.eer"].startswith(f"{folder}/cut.eer: ")
    assert check.damaged[folder / "cut.eer"].endswith("; copy the file again")


def test_a_check_without_time_checks_nothing(folder: Path) -> None:
    check = check_eers(sorted(folder.glob("[0-9]*.eer")), 0.0)
    assert (check.files, check.looked_at, check.damaged) == (4, 0, {})


def test_unreadable_files_are_not_checked(folder: Path) -> None:
    check = check_eers([folder / "0.eer", folder / "missing.eer"])
    assert (check.files, check.looked_at, check.damaged) == (2, 1, {})


def test_an_intact_file_has_no_damage(folder: Path) -> None:
    assert damage(folder / "0.eer") is None


def findings(folder: Path) -> list[tuple[Level, str]]:
    return [(found.level, found.what) for found in check_archive(folder) if "EER" in found.what or ".eer" in found.what]


def test_doctor_names_damaged_files(folder: Path) -> None:
    ((level, what),) = [found for found in findings(folder) if "damaged" in found[1] or "truncated" in found[1]]
    assert level is Level.WARNING
    assert what.startswith((f"{folder}/cut.eer: ", f"{folder}/junk.eer: "))
    assert what.endswith("; 1 more EER files look damaged")
    for name in ("cut", "junk"):
        (folder / f"{name}.eer").unlink()
    assert findings(folder) == [
        (Level.OK, "no archived movies found, only EER files"),
        (Level.OK, "EER files: frames found in all 4 checked files"),
    ]


def test_stats_names_damaged_files(folder: Path) -> None:
    printed = run_in_process("stats", folder).stdout
    assert "6 EER files: 2 damaged" in printed
    assert f"{folder}/junk.eer: " in printed
    eer = json.loads(run_in_process("stats", folder, "--json").stdout)["eer"]
    assert (eer["files"], eer["looked_at"], len(eer["damaged"])) == (6, 6, 2)


def test_info_reports_the_grouping_of_a_short_file(folder: Path) -> None:
    facts = json.loads(run_in_process("info", folder / "0.eer", "--json").stdout)
    assert (facts["grouping"], facts["fractions"]) == (5, 1)
    done = run_in_process("info", folder / "._0.eer", check=False)
    assert done.returncode == 1
    assert "begins with a dot" in done.stderr
