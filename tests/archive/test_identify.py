"""What files of an archive are, above all those that were movies once, and what each command makes of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.archive.info import savings
from cryofs.movies.provider import Stored
from cryofs.movies.registry import identify
from cryofs.report.inventory import survey
from tests.foreign import counts, serialem, write_tiff
from tests.outcomes import adopted
from tests.support import archive, names, run_in_process, simulated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two movies."""
    folder = tmp_path_factory.mktemp("kinds")
    for number in range(2):
        simulated(folder / "session" / f"{number}.mrc", frames=4, seed=number)
    archive(folder / "session", folder / "archive")
    return folder / "archive"


def adopted_movie(path: Path) -> Path:
    adopted(serialem(path, counts()))
    return path


def test_each_kind(made: Path, tmp_path: Path) -> None:
    assert is_archived(identify(made / "0.mrc.tif"))
    assert is_archived(identify(adopted_movie(tmp_path / "a.tif")))
    assert is_foreign(identify(serialem(tmp_path / "f.tif", counts())))
    assert is_foreign(identify(serialem(tmp_path / "f.mrc.tif", counts())))
    assert is_other(identify(write_tiff(tmp_path / "photo.mrc.tif", counts()[:1])))
    (tmp_path / "notes.tif").write_text("no TIFF")
    assert is_other(identify(tmp_path / "notes.tif"))
    assert is_other(identify(made / "gain-reference.mrc"))


def is_archived(what: Stored) -> bool:
    return what.record is not None and what.error is None and not what.is_foreign


def is_foreign(what: Stored) -> bool:
    return what.is_foreign and what.record is None and what.error is None


def is_other(what: Stored) -> bool:
    return not what.is_foreign and what.record is None and what.error is None


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: bytes(len(data)), lambda data: data[:16]])
def test_an_archived_movie_that_was_emptied(made: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    movie = folder / "0.mrc.tif"
    movie.write_bytes(spoil(movie.read_bytes()))
    what = identify(movie)
    assert what.error is not None
    assert not what.is_foreign
    for arguments in (["verify", folder], ["extract", folder, "-o", tmp_path / "out"], ["doctor", folder]):
        done = run_in_process(*arguments, check=False)
        assert done.returncode == 1, arguments
        assert str(movie) in done.stderr + done.stdout
    assert names(tmp_path / "out") == ["1.mrc"]
    assert savings([folder]).damaged == 1
    assert [path for path, _ in survey(folder).problems] == [movie]


def test_an_adopted_movie_that_was_truncated(tmp_path: Path) -> None:
    path = adopted_movie(tmp_path / "archive" / "x.tif")
    data = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(data)
    done = run_in_process("verify", path.parent, check=False)
    assert done.returncode == 1
    assert str(path) in done.stderr
    # it may have been so from the beginning, and there is nothing better
    run_in_process("extract", path.parent, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "x.tif").read_bytes() == data
