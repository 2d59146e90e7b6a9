"""Lists of movies: STAR files and plain lists as written by other programs."""

from codecs import BOM_UTF8
from pathlib import Path

import pytest

from benchmarks.simulate import header
from cryofs.errors import FormatError
from cryofs.formats.movie_list import MovieList, read_list

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
opticsGroup1            1     0.885000
"""
COLUMNS = """
loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
Movies/a_00021.mrc            1
# a comment
"Movies/with space.mrcs"            1
'Movies/c.mrc'            1  # and another
"""
NAMES = ["Movies/a_00021.mrc", "Movies/with space.mrcs", "Movies/c.mrc"]
AB = ["a.mrc", "b.mrc"]
STARS = {
    "empty block name": ("data_\n" + COLUMNS, NAMES),
    "named block": ("data_movies\n" + COLUMNS, NAMES),
    "optics first": (OPTICS + "\ndata_movies\n" + COLUMNS, NAMES),
    "one column": ("data_\nloop_\n_rlnMicrographMovieName\nb.mrc\na.mrc\n", ["b.mrc", "a.mrc"]),
    "last column": ("data_\nloop_\n_rlnVoltage #1\n_rlnMicrographMovieName #2\n300 a.mrc\n300 b.mrc", AB),
    "no loop": ("data_\n_rlnMicrographMovieName a.mrc\n", ["a.mrc"]),
    "two blocks": ("data_one\n_rlnMicrographMovieName a.mrc\ndata_two\n_rlnMicrographMovieName b.mrc\n", AB),
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("kind", STARS)
@pytest.mark.parametrize("mark", [b"", BOM_UTF8])
def test_star_files(tmp_path: Path, kind: str, line_end: str, mark: bytes) -> None:
    text, names = STARS[kind]
    path = tmp_path / "movies.star"
    path.write_bytes(mark + text.replace("\n", line_end).encode())
    assert read_list(path) == MovieList([[name] for name in names])


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("mark", [b"", BOM_UTF8])
def test_plain_lists(tmp_path: Path, line_end: str, mark: bytes) -> None:
    path = tmp_path / "movies.lst"
    path.write_bytes(mark + line_end.join(["a.mrc", "", "", "  with space.mrc  ", "\t", "ü/b.mrcs", "", ""]).encode())
    assert read_list(path) == MovieList([["a.mrc"], ["with space.mrc"], ["ü/b.mrcs"]])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("movies.star", OPTICS),
        ("movies.star", "data_\nloop_\n_rlnMicrographName\na.mrc\n"),
        ("movies.star", "data_\n"),
        ("movies.star", ""),
        ("movies.star", "a.mrc\nb.mrc\n"),
        ("movies.star", "data_\nloop_\n_rlnMicrographMovieName\n_rlnVoltage\na.mrc\n"),
        ("movies.star", "data_\n_rlnMicrographMovieName ?\n"),
        ("movies.lst", ""),
        ("movies.lst", "\n \n"),
        ("movies.lst", "x" * 5000),
    ],
)
def test_lists_without_movie_names(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FormatError, match=name):
        read_list(path)


@pytest.mark.parametrize("content", [header((1, 4, 4), 2), b"II*\0\xff\xfe", bytes(100)], ids=["mrc", "tiff", "zeros"])
@pytest.mark.parametrize("name", ["movies.star", "movies.lst"])
def test_binary_files_are_not_lists(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FormatError, match=name):
        read_list(path)


def test_tables_of_tilt_series(tmp_path: Path) -> None:
    path = tmp_path / "tilt_series.STAR"
    path.write_text(
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoTiltSeriesStarFile #2\nTS_01 ts/1.star\nTS_02 ts/2.star\n"
    )
    assert read_list(path) == MovieList(tables=["ts/1.star", "ts/2.star"])


def test_movies_of_a_tilt_series_of_serialem(tmp_path: Path) -> None:
    path = tmp_path / "TS_01.mrc.mdoc"
    path.write_bytes(
        b"PixelSpacing = 1.35\r\nImageFile = TS_01.mrc\r\n\r\n[T = SerialEM: tilt axis 85\xb0]\r\n\r\n[ZValue = 0]\r\n"
        b"TiltAngle = 0.01\r\nSubFramePath = D:\\grid 1\\frames\\TS_01_000.tif\r\nNumSubFrames = 8\r\n\r\n"
        b"[ZValue = 1]\r\nSubFramePath = frames/TS_01_001.tif \r\n"
        b"[ZValue = 2]\r\nSubFramePath = /data/TS_01_002.tif\r\n"
    )
    assert read_list(path).movies == [
        ["grid 1/frames/TS_01_000.tif", "frames/TS_01_000.tif", "TS_01_000.tif"],
        ["frames/TS_01_001.tif", "TS_01_001.tif"],
        ["/data/TS_01_002.tif", "data/TS_01_002.tif", "TS_01_002.tif"],
    ]


def test_metadata_of_one_movie_of_serialem(tmp_path: Path) -> None:
    path = tmp_path / "x.tif.mdoc"
    path.write_text("PixelSpacing = 0.8\n\n[FrameSet = 0]\nNumSubFrames = 40\n")
    assert read_list(path).movies == [["x.tif"]]
