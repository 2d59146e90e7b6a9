import pytest

from cryofs.formats import archive_names
from cryofs.storage import atomic_file

DOT_FILES = ["._x.mrc", ".x.mrcs", "._x.eer", ".x.mrc.tif", "._x.tiff", ".DS_Store", ".mrc", ".eer", ".tif"]


@pytest.mark.parametrize("name", DOT_FILES)
def test_a_dot_file_is_never_a_movie(name: str) -> None:
    assert archive_names.is_dot_name(name)
    assert not archive_names.is_movie_name(name)
    assert not archive_names.is_eer_name(name)
    assert archive_names.original_name(name) is None
    assert archive_names.foreign_name(name) is None
    assert archive_names.eer_names(name) == []
    assert archive_names.foreign_names(name) == []


def test_names_of_movies() -> None:
    assert archive_names.is_movie_name("x.mrc")
    assert archive_names.is_movie_name("x.mrcs")
    assert not archive_names.is_movie_name("x.mrc.tif")
    assert archive_names.is_eer_name("x.mrc.eer")
    assert archive_names.foreign_name("x.tif") == "x.mrc"
    assert archive_names.foreign_name("x.mrc.tiff") == "x.mrc"
    assert archive_names.original_name("x.mrc.tif") == "x.mrc"
    assert archive_names.eer_names("x.mrc")[:4] == ["x.eer", "x.ecc", "x.mrc.eer", "x.mrc.ecc"]
    assert archive_names.foreign_name("x.tiff") == "x.mrc"
    for name in ("x.st", "x.map", "x.rec", "x.mrc.bak"):
        assert not archive_names.is_movie_name(name)


@pytest.mark.parametrize("name", ["X.MRC", "x.Mrc", "x.mRCs"])
def test_names_of_movies_in_any_case(name: str) -> None:
    assert archive_names.is_movie_name(name)
    assert archive_names.archived_name(name) == f"{name}.tif"
    assert archive_names.original_name(f"{name}.tif") == name


@pytest.mark.parametrize(
    ("stored", "shown"),
    [("X.EER", "X.mrc"), ("x.ecc", "x.mrc"), ("x.Eer", "x.mrc"), ("X.MRC.EER", "X.MRC"), ("x.Mrc.ecc", "x.Mrc")],
)
def test_names_of_eer_files_in_capitals(stored: str, shown: str) -> None:
    assert archive_names.is_eer_name(stored)
    assert archive_names.fractions_name(stored) == shown
    assert stored in archive_names.eer_names(shown)


@pytest.mark.parametrize(
    ("stored", "shown"), [("X.TIF", "X.mrc"), ("x.Tiff", "x.mrc"), ("X.MRC.TIF", "X.MRC"), ("x.mrcs.TIF", "x.mrcs")]
)
def test_names_of_tiff_files_in_capitals(stored: str, shown: str) -> None:
    assert archive_names.foreign_name(stored) == shown
    assert stored in archive_names.foreign_names(shown)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (".cryofs-sha256", True),
        (".cryofs-journal", True),
        (atomic_file.DRAFT_PREFIX + "0123", True),
        (".cryofs", False),
        ("cryofs-sha256", False),
        ("x.cryofs-", False),
        ("cryofs.toml", False),
    ],
)
def test_names_of_cryofs(name: str, own: bool) -> None:
    assert archive_names.is_own_name(name) is own
