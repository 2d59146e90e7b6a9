"""EER movies archived as TIFF files of their fractions."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from benchmarks.simulate import header
from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.archive.info import describe, savings
from cryofs.compress.movie_task import CompressOptions
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_info import describe_eer
from cryofs.movies.eer_rendering import Rendering
from tests.outcomes import extracted, verified
from tests.support import Reported, archive, names, simulated
from tests.vfs.serving import content, serving

SHAPE = (600, 280)
FALCON = Widths()
FRAMES = list(random_frames(22, SHAPE, 0.02, FALCON))


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "session"
    for name in ("a.eer", "Movies/b.mrc.eer"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_eer(folder / name, FRAMES, SHAPE, FALCON, xml=metadata(22, 0.44, 0.8))
    (folder / "notes.txt").write_text("300 kV")
    return folder


def rendered(path: Path, rendering: Rendering) -> bytes:
    with EerMovie(path, rendering, EerGains()) as movie:
        return movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(movie.shape[0]))


def options(rendering: Rendering, **others: object) -> CompressOptions:
    return CompressOptions(rendering=rendering, jobs=2, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rendering",
    [
        Rendering(grouping=5),
        Rendering(grouping=5, upsampling=2, dtype="uint16"),
        Rendering(grouping=7, leftover="keep", dtype="int8"),
        Rendering(grouping=11, dtype="float32"),
        Rendering(grouping=5, upsampling=2, crop=1),
        Rendering(grouping=5, upsampling=4, crop=2, dtype="int16"),
    ],
)
def test_fractions_come_back(session: Path, tmp_path: Path, rendering: Rendering) -> None:
    target = tmp_path / "archive"
    summary, reported = archive(session, target, options(rendering))
    assert not reported.errors
    assert names(target) == ["Movies/b.mrc.tif", "a.mrc.tif", "notes.txt"]
    assert summary.movies == 2
    assert summary.original_bytes == sum(path.stat().st_size for path in session.rglob("*.eer"))
    assert reported.counted_frames == reported.expected_frames > 0
    checked = verified(target)[0]
    assert (checked.movies, checked.failed) == (2, 0)
    assert describe(target / "a.mrc.tif")["original"]["sha256"] is None
    extracted(target, to=tmp_path / "out")
    assert (tmp_path / "out" / "a.mrc").read_bytes() == rendered(session / "a.eer", rendering)
    assert (tmp_path / "out" / "a.mrc").stat().st_mtime_ns == (session / "a.eer").stat().st_mtime_ns


def test_other_programs_see_fractions_as_relion_writes_them(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    pages = tifffile.imread(tmp_path / "archive" / "a.mrc.tif", key=range(4))
    assert pages.dtype == np.uint8
    with EerMovie(session / "a.eer", Rendering(grouping=5), EerGains()) as movie:
        np.testing.assert_array_equal(pages[:, ::-1], list(movie.frames()))


def test_what_the_archive_remembers(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    facts = describe(tmp_path / "archive" / "a.mrc.tif")
    size = (session / "a.eer").stat().st_size
    assert facts["rendered"] == {
        "name": "a.eer",
        "bytes": size,
        "mtime_ns": (session / "a.eer").stat().st_mtime_ns,
        "frames": 22,
        "grouping": 5,
        "upsampling": 1,
        "damaged_frames": [],
    }
    assert facts["ratio"] == facts["stored_bytes"] / size
    assert savings([tmp_path / "archive"]).original_bytes == 2 * size


@pytest.mark.parametrize(("dtype", "scale"), [("float32", None), ("int16", 2048)])
def test_cropped_fractions(session: Path, tmp_path: Path, dtype: str, scale: float | None) -> None:
    gain = np.random.default_rng(0).uniform(0.5, 2, SHAPE).astype(np.float32)
    mrcfile.write(tmp_path / "falcon.mrc", gain)
    rendering = Rendering(grouping=5, upsampling=2, crop=1, dtype=dtype, gain=tmp_path / "falcon.mrc")
    target = tmp_path / "archive"
    summary, reported = archive(session, target, options(rendering, gain="auto"))
    # no gain reference beside them, neither that of the detector nor an estimate, and their size does not matter
    assert names(target) == ["Movies/b.mrc.tif", "a.mrc.tif", "notes.txt"]
    assert (summary.movies, summary.kept_plain, len(reported.errors)) == (2, 0, 0)
    facts = describe(target / "a.mrc.tif")
    assert (facts["gain"], facts["dtype"]) == (None, dtype)
    with EerMovie(session / "a.eer", rendering, EerGains()) as movie:
        checksum = movie.pixels.gain and movie.pixels.gain.checksum
    remembered = {name: facts["rendered"].get(name) for name in ("upsampling", "crop", "scale", "gain")}
    assert remembered == {"upsampling": 2, "crop": 1, "scale": scale, "gain": checksum}
    with serving(target) as files:
        assert content(files, "/a.mrc") == rendered(session / "a.eer", rendering)


def test_cropped_fractions_are_rendered_again_if_anything_changes(session: Path, tmp_path: Path) -> None:
    gain = np.random.default_rng(0).uniform(0.5, 2, SHAPE).astype(np.float32)
    mrcfile.write(tmp_path / "one.mrc", gain)
    mrcfile.write(tmp_path / "other.mrc", gain[::-1])
    first = Rendering(grouping=5, upsampling=2, crop=1)
    others = [
        replace(first, crop=None),
        replace(first, upsampling=4),
        replace(first, upsampling=4, crop=2),
        replace(first, dtype="int16"),
        replace(first, gain=tmp_path / "one.mrc"),
        replace(first, gain=tmp_path / "other.mrc"),
    ]
    archive(session, tmp_path / "archive", options(first))
    for rendering in (first, *others):
        summary = archive(session, tmp_path / "archive", options(rendering, only_do_unfinished=True))[0]
        assert (summary.movies, summary.skipped) == ((0, 2) if rendering == first else (2, 0))


def test_only_what_is_unfinished_is_rendered(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(session, target, options(Rendering(grouping=5)))
    again = options(Rendering(grouping=5), only_do_unfinished=True)
    assert archive(session, target, again)[0].skipped == 2
    other = options(Rendering(grouping=6), only_do_unfinished=True)
    assert archive(session, target, other)[0].movies == 2
    os.utime(session / "a.eer", ns=(1, 1))
    summary, _ = archive(session, target, other)
    assert (summary.skipped, summary.movies) == (1, 1)


def test_a_damaged_frame_is_left_out_and_remembered(
    session: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray((session / "a.eer").read_bytes())
    place = data.index(FRAMES[3]) + 300
    data[place : place + 8] = bytes(8)
    (session / "a.eer").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    assert f"{session}/a.eer, frame 3: damaged" in caplog.text
    assert describe(tmp_path / "archive" / "a.mrc.tif")["rendered"]["damaged_frames"] == [3]
    facts = describe_eer(session / "a.eer", 2, Rendering())
    assert (facts["damaged_frames"], facts["frames"]) == ([3], 22)


def test_a_broken_file_does_not_stop_the_others(session: Path, tmp_path: Path) -> None:
    (session / "bad.eer").write_bytes(b"no EER")
    summary, reported = archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    assert (summary.movies, summary.failed) == (2, 1)
    assert "copy the file again" in str(reported.errors[session / "bad.eer"])
    assert not (tmp_path / "archive" / "bad.mrc.tif").exists()


def test_a_movie_of_the_same_name_is_not_overwritten(session: Path, tmp_path: Path) -> None:
    simulated(session / "a.mrc")
    summary, reported = archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    assert (summary.movies, summary.failed) == (2, 1)
    # the movie that is there wins over the one that would be made
    assert "(a.mrc.tif); rename one" in str(reported.errors[session / "a.eer"])
    assert describe(tmp_path / "archive" / "a.mrc.tif")["rendered"] is None


@pytest.mark.parametrize("original", ["archived", "kept plain"])
def test_fractions_do_not_replace_an_original_of_an_earlier_run(session: Path, tmp_path: Path, original: str) -> None:
    movie, target = session / "a.mrc", tmp_path / "archive"
    if original == "archived":
        simulated(movie)
    else:
        movie.write_bytes(b"not a movie")
    archive(session, target)
    before = {name: (target / name).read_bytes() for name in names(target)}
    movie.unlink()
    for unfinished in (False, True):
        _, reported = archive(session, target, options(Rendering(grouping=5), only_do_unfinished=unfinished))
        assert "name of the fractions already taken by an original" in str(reported.errors.pop(session / "a.eer"))
        assert not reported.errors
    assert before.items() <= {name: (target / name).read_bytes() for name in names(target)}.items()


def test_eer_files_are_kept_unless_fractions_are_wanted(session: Path, tmp_path: Path) -> None:
    _, reported = archive(session, tmp_path / "archive")
    assert isinstance(reported, Reported)
    assert (tmp_path / "archive" / "a.eer").read_bytes() == (session / "a.eer").read_bytes()
    assert not list((tmp_path / "archive").rglob("*.tif"))


def test_the_gain_reference_comes_along_to_be_multiplied(session: Path, tmp_path: Path) -> None:
    gain = np.random.default_rng(0).uniform(0.5, 2, SHAPE).astype(np.float32)
    mrcfile.write(tmp_path / "falcon.mrc", gain)
    archive(session, tmp_path / "archive", options(Rendering(grouping=5, gain=tmp_path / "falcon.mrc")))
    with mrcfile.open(tmp_path / "archive" / "gain-reference-eer.mrc") as written:
        np.testing.assert_allclose(written.data, gain.mean() / gain, rtol=1e-5)


def test_defects_of_the_gain_reference_are_noted(session: Path, tmp_path: Path) -> None:
    gain = np.random.default_rng(0).uniform(0.5, 2, SHAPE).astype(np.float32)
    gain[4, 5] = np.nan
    (tmp_path / "falcon.mrc").write_bytes(header((1, *SHAPE), 2) + gain.tobytes())
    target = tmp_path / "archive"
    _, reported = archive(session, target, options(Rendering(grouping=5, gain=tmp_path / "falcon.mrc")))
    # these random values do not belong to random events, which causes another note
    notes = [note for note in reported.notes if "falcon.mrc" in note and "probably not the gain reference" not in note]
    use, note = notes
    assert "counts are divided by its values (inferred from the file name, as in RELION)" in use
    assert "1 pixel without a valid gain" in note
    assert note.endswith("row 4 column 5")
    gain[4, 5] = 0
    with mrcfile.open(target / "gain-reference-eer.mrc") as written:
        expected = np.divide(gain.mean(), gain, out=np.zeros_like(gain), where=gain != 0)
        np.testing.assert_allclose(written.data, expected, rtol=1e-5)


def test_facts_of_an_eer_file(session: Path) -> None:
    facts = describe_eer(session / "a.eer", 2, Rendering())
    assert facts["shape"] == [22, *SHAPE]
    assert facts["electrons_per_pixel_per_frame"] == pytest.approx(0.0198, rel=0.05)
    assert facts["frames_in_metadata"] == 22
    assert facts["pixel_size"] == pytest.approx(0.8)
    assert facts["dose_source"] == "metadata"
    # 0.02 e/px a frame on pixels of 0.64 A^2
    assert facts["dose_per_frame"] == pytest.approx(0.03125)
    assert facts["groupings"] == [16, 40]


def test_facts_where_the_metadata_are_empty(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON)
    facts = describe_eer(tmp_path / "x.eer", 2, Rendering())
    assert (facts["groupings"], facts["dose_source"], facts["pixel_size"]) == (None, None, None)
    facts = describe_eer(tmp_path / "x.eer", 2, Rendering(pixel_size=0.8))
    assert facts["dose_source"] == "counted"
    assert facts["dose_per_frame"] == pytest.approx(0.0198 / 0.64, rel=0.05)
    facts = describe_eer(tmp_path / "x.eer", 2, Rendering(dose=22.0))
    assert (facts["dose_source"], facts["dose_per_frame"], facts["groupings"]) == ("given", 1.0, [1, 1])


def test_fractions_on_a_machine_of_one_core(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EerMovie, "decodes_at_once", 1)
    summary, reported = archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    assert not reported.errors
    assert summary.movies == 2
    assert verified(tmp_path / "archive")[0].failed == 0


def test_nothing_is_archived_with_a_gain_reference_that_does_not_serve(session: Path, tmp_path: Path) -> None:
    mrcfile.write(tmp_path / "bad.mrc", np.ones((50, 50), np.float32))
    mrcfile.write(tmp_path / "good.mrc", np.full(SHAPE, 2, np.float32))
    target = tmp_path / "archive"
    bad, good = (Rendering(grouping=5, gain=tmp_path / name) for name in ("bad.mrc", "good.mrc"))
    summary, reported = archive(session, target, options(bad))
    assert (summary.movies, summary.failed) == (0, 2)
    assert "size mismatch" in str(reported.errors[session / "a.eer"])
    assert not list(target.rglob("*.tif"))
    archive(session, target, options(good))
    (target / "gain-reference-eer.mrc").unlink()
    # movies that are done need their reference too
    assert archive(session, target, options(good, only_do_unfinished=True))[0].skipped == 2
    assert (target / "gain-reference-eer.mrc").exists()


def test_a_second_gain_reference_does_not_replace_the_first(session: Path, tmp_path: Path) -> None:
    gain = np.random.default_rng(0).uniform(0.5, 2, SHAPE).astype(np.float32)
    mrcfile.write(tmp_path / "falcon.mrc", gain)
    target = tmp_path / "archive"
    for upsampling in (1, 2, 1):
        archive(session, target, options(Rendering(grouping=5, upsampling=upsampling, gain=tmp_path / "falcon.mrc")))
    first, second = sorted(target.glob("gain-reference-eer*.mrc"), key=lambda path: path.stat().st_size)
    assert first.name == "gain-reference-eer.mrc"
    with mrcfile.open(second) as written:
        np.testing.assert_allclose(written.data, (gain.mean() / gain).repeat(2, 0).repeat(2, 1), rtol=1e-5)


@pytest.mark.parametrize("dose", ["1e-320", "5e-324", "1e308", "nan", "inf", "-1", "0", "9" * 5000])
def test_invalid_metadata_do_not_end_a_run(tmp_path: Path, dose: str) -> None:
    xml = metadata(22, 0.44, 0.8).replace(b">0.44<", f">{dose}<".encode()).replace(b">22<", f">{'9' * 5000}<".encode())
    (tmp_path / "session").mkdir()
    write_eer(tmp_path / "session" / "x.eer", FRAMES, SHAPE, FALCON, xml=xml)
    facts = describe_eer(tmp_path / "session" / "x.eer", 2, Rendering())
    assert facts["frames_in_metadata"] is None
    assert facts["dose_source"] == "counted"
    _, reported = archive(tmp_path / "session", tmp_path / "archive", options(Rendering(dose_per_fraction=0.2)))
    assert not reported.errors
    # 0.0198 counted electrons on pixels of 0.64 A^2 in each frame
    assert describe(tmp_path / "archive" / "x.mrc.tif")["rendered"]["grouping"] == 6


def test_raw_frames_and_fractions_are_noted(session: Path, tmp_path: Path) -> None:
    _, reported = archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    assert f"{session}/a.eer: Found 22 raw frames; 4 fractions of 5, 2 frames dropped" in reported.notes
    _, reported = archive(session, tmp_path / "archive", options(Rendering(grouping=5, leftover="spread")))
    assert f"{session}/a.eer: Found 22 raw frames; 2 fractions of 5 and 2 fractions of 6, 0 frames dropped" in (
        reported.notes
    )


def test_spread_frames_are_rendered_again(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "archive", options(Rendering(grouping=5)))
    spread = options(Rendering(grouping=5, leftover="spread"), only_do_unfinished=True)
    assert archive(session, tmp_path / "archive", spread)[0].movies == 2
    assert archive(session, tmp_path / "archive", spread)[0].skipped == 2
    with EerMovie(session / "a.eer", Rendering(grouping=5, leftover="spread"), EerGains()) as movie:
        np.testing.assert_array_equal(
            tifffile.imread(tmp_path / "archive" / "a.mrc.tif", key=range(4))[:, ::-1], list(movie.frames())
        )
