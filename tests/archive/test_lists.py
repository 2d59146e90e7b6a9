"""Lists as sources: tables of tilt series, metadata of SerialEM, and files that editors on Windows saved."""

from codecs import BOM_UTF8
from pathlib import Path

import pytest

from benchmarks.simulate import write_counts
from cryofs.archive.scan import Kind, collect, collect_archived
from tests.foreign import counts, serialem

GLOBAL = "data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesStarFile #2\n"


@pytest.fixture(name="project", autouse=True)
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a RELION project with two tilt series, as the working folder."""
    project = tmp_path / "project"
    (project / "frames").mkdir(parents=True)
    for number in (1, 2):
        write_counts(project / "frames" / f"TS_{number}.mrc", 3, (24, 32), seed=number)
        table = project / "ts" / f"TS_{number}.star"
        table.parent.mkdir(exist_ok=True)
        table.write_text(f"data_TS_{number}\n\nloop_\n_rlnMicrographMovieName #1\nframes/TS_{number}.mrc\n")
    (project / "tilt_series.star").write_text(f"{GLOBAL}TS_1 ts/TS_1.star\nTS_2 ts/TS_2.star\n")
    monkeypatch.chdir(project)
    return project


def targets(source: Path, archive: Path = Path("archive")) -> tuple[list[str], list[str]]:
    jobs, problems = collect([source], archive)
    return [str(job.target) for job in jobs], [str(problem.error) for problem in problems]


STORED = ["frames/TS_1.mrc.tif", "frames/TS_2.mrc.tif"]


def test_tables_of_tilt_series_are_followed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert targets(Path("tilt_series.star")) == (STORED, [])
    monkeypatch.chdir(project.parent)
    assert targets(project / "tilt_series.star") == (STORED, [])


def test_a_table_that_is_missing_does_not_hide_the_others(project: Path) -> None:
    (project / "ts" / "TS_1.star").unlink()
    found, problems = targets(Path("tilt_series.star"))
    assert found == STORED[1:]
    assert len(problems) == 1
    assert problems[0].startswith("ts/TS_1.star: missing, but listed in tilt_series.star")


def test_a_table_that_names_itself(project: Path) -> None:
    (project / "tilt_series.star").write_text(f"{GLOBAL}TS_1 tilt_series.star\n")
    found, problems = targets(Path("tilt_series.star"))
    assert found == []
    assert len(problems) == 1
    assert problems[0].startswith("tilt_series.star: contains no movie names")


def test_tables_of_tilt_series_name_archived_movies(project: Path) -> None:
    stored = project / "frames" / "TS_1.mrc.tif"
    serialem(stored, counts())
    jobs, _ = collect_archived([Path("tilt_series.star")])
    assert [job.source for job in jobs] == [stored.relative_to(project), Path("frames/TS_2.mrc")]


def test_a_tilt_series_of_serialem(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths are those of the computer of the camera; movies are beside the metadata or in a folder of their own."""
    metadata = project / "mdoc" / "TS.mrc.mdoc"
    metadata.parent.mkdir()
    metadata.write_bytes(
        b"[ZValue = 0]\r\nSubFramePath = D:\\data\\frames\\TS_1.mrc\r\n"
        b"[ZValue = 1]\r\nSubFramePath = D:\\data\\TS_2.mrc\r\n[ZValue = 2]\r\nSubFramePath = D:\\data\\TS_3.mrc\r\n"
    )
    monkeypatch.chdir(project.parent)
    found, problems = targets(metadata)
    assert found == ["TS.mrc.mdoc", "TS_2.mrc.tif", "frames/TS_1.mrc.tif"]
    assert [problem.partition(": ")[0] for problem in problems] == ["data/TS_3.mrc"]


def test_the_metadata_of_one_movie(project: Path) -> None:
    write_counts(project / "x.mrc", 3, (24, 32), seed=9)
    (project / "x.mrc.mdoc").write_text("[FrameSet = 0]\nNumSubFrames = 3\n")
    assert targets(Path("x.mrc.mdoc")) == (["x.mrc.mdoc", "x.mrc.tif"], [])


@pytest.mark.parametrize("name", ["movies.lst", "MOVIES.LST"])
def test_a_byte_order_mark_is_not_part_of_a_name(project: Path, name: str) -> None:
    (project / name).write_bytes(BOM_UTF8 + b"frames/TS_1.mrc\r\nframes/TS_2.mrc\r\n")
    assert targets(Path(name)) == (STORED, [])


def test_names_in_capitals(project: Path) -> None:
    (project / "frames" / "TS_1.mrc").rename(project / "frames" / "TS_1.MRC")
    (project / "frames" / "TS_2.mrc").rename(project / "frames" / "TS_2.st")
    jobs, _ = collect([project / "frames"], Path("archive"))
    kinds = {str(job.target): job.kind for job in jobs if job.kind is not Kind.FOLDER}
    assert kinds == {"TS_1.MRC.tif": Kind.MOVIE, "TS_2.st": Kind.FILE}
