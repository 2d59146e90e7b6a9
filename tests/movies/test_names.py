import pytest

from cryofs.movies import names

DOT_FILES = ["._x.mrc", ".x.mrcs", "._x.eer", ".x.mrc.tif", "._x.tiff", ".DS_Store", ".mrc", ".eer", ".tif"]


@pytest.mark.parametrize("name", DOT_FILES)
def test_a_dot_file_is_never_a_movie(name: str) -> None:
    assert names.is_dot_name(name)
    assert not names.is_movie_name(name)
    assert not names.is_eer_name(name)
    assert not names.is_tiff_name(name)
    assert names.original_name(name) is None
    assert names.foreign_name(name) is None
    assert names.eer_names(name) == []
    assert names.foreign_names(name) == []


def test_names_of_movies() -> None:
    assert names.is_movie_name("x.mrc")
    assert names.is_movie_name("x.mrcs")
    assert not names.is_movie_name("x.mrc.tif")
    assert names.is_eer_name("x.mrc.eer")
    assert names.is_tiff_name("x.tif")
    assert names.is_tiff_name("x.mrc.tiff")
    assert names.original_name("x.mrc.tif") == "x.mrc"
    assert names.eer_names("x.mrc") == ["x.eer", "x.mrc.eer"]
    assert names.foreign_name("x.tiff") == "x.mrc"


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (".cryofs-sha256", True),
        (".cryofs-journal", True),
        (names.DRAFT_PREFIX + "0123", True),
        (".cryofs", False),
        ("cryofs-sha256", False),
        ("x.cryofs-", False),
        ("cryofs.toml", False),
    ],
)
def test_names_of_cryofs(name: str, own: bool) -> None:
    assert names.is_own_name(name) is own
