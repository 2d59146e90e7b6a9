"""A run in parts: together they archive what one run does, in any order, whatever becomes of one of them."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.part_gains import RECORD_NAME
from cryofs.compress.summary import Summary
from cryofs.execution.parts import Part
from cryofs.gain.references import References
from tests.archive.comparing import compared
from tests.outcomes import verified
from tests.support import Reported, archive, names, restored, run_in_process, same_archive, same_tree, simulated

OPTIONS = CompressOptions(jobs=1, gain_wait=60)
Outcomes = list[tuple[Summary, Reported]]


def in_parts(source: Path, target: Path, count: int, options: CompressOptions = OPTIONS) -> Outcomes:
    """Run all parts at the same time."""
    done: dict[int, tuple[Summary, Reported]] = {}

    def run(number: int) -> None:
        done[number] = archive(source, target, replace(options, part=Part(number, count)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, count + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [done[number] for number in sorted(done)]


def errors(outcomes: Outcomes) -> list[Exception]:
    return [error for _, reported in outcomes for error in reported.errors.values()]


def noise(path: Path, seed: int = 0) -> Path:
    """A movie that has no gain reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(4, 40, 50)).astype("<f4")
    path.write_bytes(header((4, 40, 50), 2) + values.tobytes())
    return path


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "session"
    for number in range(6):
        simulated(folder / "Movies" / f"{number}.mrc", seed=number)
    for number in range(6):
        (folder / "Movies" / f"{number}.xml").write_text(str(number))
    (folder / "empty").mkdir()
    (folder / "link.mrc").symlink_to("Movies/0.mrc")
    for number in range(4):
        os.link(folder / "Movies" / "0.xml", folder / f"twin{number}.xml")
    return folder


def test_parts_archive_what_one_run_does(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "whole", OPTIONS)
    outcomes = in_parts(session, tmp_path / "parts", 3)
    assert not errors(outcomes)
    assert sum(summary.movies for summary, _ in outcomes) == 6
    assert all(summary.movies < 6 for summary, _ in outcomes)
    assert sum(summary.copied for summary, _ in outcomes) == 10
    assert [bool(reported.rows) for _, reported in outcomes] == [True, False, False]
    same_archive(tmp_path / "whole", tmp_path / "parts")
    same_tree(session, restored(tmp_path / "parts", tmp_path / "restored"))
    assert compared(session, tmp_path / "parts")[0].all_equal


def test_movies_of_a_list_are_dealt_in_turn(session: Path, tmp_path: Path) -> None:
    movies = tmp_path / "movies.lst"
    movies.write_text("".join(f"{session}/Movies/{number}.mrc\n" for number in range(6)) + "missing.mrc\n")
    outcomes = in_parts(movies, tmp_path / "archive", 3)
    assert [summary.movies for summary, _ in outcomes] == [2, 2, 2]
    assert sum(summary.failed for summary, _ in outcomes) == 1


def test_other_parts_and_another_number_of_parts_continue(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(session, target, replace(OPTIONS, part=Part(1, 3)))
    again = replace(OPTIONS, only_do_unfinished=True)
    before = {path: path.stat().st_ino for path in target.rglob("*.tif")}
    outcomes = in_parts(session, target, 2, again)
    assert not errors(outcomes)
    assert sum(summary.movies for summary, _ in outcomes) == 6 - len(before)
    assert {path: path.stat().st_ino for path in before} == before
    archive(session, tmp_path / "whole", OPTIONS)
    same_archive(tmp_path / "whole", target)


def test_a_part_waits_for_the_reference_and_says_so(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    late = threading.Timer(0.5, archive, (session, target, replace(OPTIONS, part=Part(1, 2))))
    late.start()
    summary, reported = archive(session, target, replace(OPTIONS, part=Part(2, 2)))
    late.join()
    assert not reported.errors
    assert any("waiting for the gain reference that part 1 estimates" in note for note in reported.notes)
    assert summary.movies
    assert verified(target)[0].movies == 6


def test_a_part_waits_no_longer_than_its_limit(session: Path, tmp_path: Path) -> None:
    counts = np.ones((2, 40, 50), "<i2")
    for number in range(8):
        (session / f"counts{number}.mrc").write_bytes(header(counts.shape, 1) + counts.tobytes())
    target = tmp_path / "archive"
    summary, reported = archive(session, target, replace(OPTIONS, part=Part(2, 2), gain_wait=0.2))
    found = [str(error) for error in reported.errors.values()]
    assert len(found) == summary.failed > 0
    assert all("run part 1 (--part 1/2), then this part again with --only-do-unfinished" in text for text in found)
    # all else is done
    assert summary.movies > 0
    assert all(name.startswith(("counts", "link", "twin", "Movies")) for name in names(target))
    outcomes = in_parts(session, target, 2, replace(OPTIONS, only_do_unfinished=True))
    assert not errors(outcomes)
    assert verified(target)[0].movies == 14


def test_movies_without_a_reference_are_recorded_by_part_1(session: Path, tmp_path: Path) -> None:
    for number in range(6):
        noise(session / f"noise{number}.mrc", number)
    outcomes = in_parts(session, tmp_path / "archive", 2)
    assert not errors(outcomes)
    assert sum(summary.movies + summary.kept_plain for summary, _ in outcomes) == 12
    assert (tmp_path / "archive" / RECORD_NAME).exists()
    # later parts need not wait
    options = replace(OPTIONS, part=Part(2, 2), gain_wait=0)
    assert not archive(session, tmp_path / "archive", options)[1].errors
    for path in session.glob("noise*"):
        path.unlink()
    in_parts(session, tmp_path / "archive", 2)
    assert not (tmp_path / "archive" / RECORD_NAME).exists()


def test_a_reference_that_comes_later_is_noticed(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "other", OPTIONS)
    target = tmp_path / "archive"
    target.mkdir()
    references = References(target)
    assert not references.of_size((300, 257))
    (target / "gain-reference.mrc").write_bytes((tmp_path / "other" / "gain-reference.mrc").read_bytes())
    references.reload()
    assert len(references.of_size((300, 257))) == 1


@pytest.mark.parametrize("damage", [False, True])
def test_verify_in_parts(session: Path, tmp_path: Path, damage: bool) -> None:
    target = tmp_path / "archive"
    archive(session, target, OPTIONS)
    if damage:
        (target / "Movies" / "3.xml").write_text("x")
        (target / "Movies" / "2.xml").unlink()
    done = [run_in_process("verify", "--part", f"{number}/3", target, check=False) for number in (1, 2, 3)]
    good = [line for one in done for line in one.stderr.splitlines() if line.endswith(": good")]
    assert len(good) == len(set(good)) == (15 if damage else 17)
    wrong = [line for one in done for line in one.stderr.splitlines() if line.startswith("cryofs: ")]
    assert len(wrong) == (2 if damage else 0)
    assert any(one.returncode for one in done) == damage


def test_extract_in_parts(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "archive", OPTIONS)
    for number in (2, 1, 3):
        run_in_process("extract", tmp_path / "archive", "-o", tmp_path / "restored", "--part", f"{number}/3")
    same_tree(session, tmp_path / "restored")


def test_compare_in_parts(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(session, target, OPTIONS)
    (session / "Movies" / "5.xml").write_text("y")
    (session / "new").write_text("not archived")
    (target / "Movies" / "4.mrc.tif").unlink()
    whole, _ = compared(session, target)
    parts = [compared(session, target, part=Part(number, 3))[0] for number in (1, 2, 3)]
    assert sum(part.equal for part in parts) == whole.equal
    for name in ("differing", "missing"):
        found = [str(one.path) for part in parts for one in getattr(part, name)]
        assert sorted(found) == sorted(str(one.path) for one in getattr(whole, name))
    done = run_in_process("compare", session, target, "--part", "1/2", "--remove-source", check=False)
    assert done.returncode == 2
    assert "mutually exclusive" in done.stderr
