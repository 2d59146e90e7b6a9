"""Gain references: found by content, from the movie's folder up to the root of the archive, and never a wrong one."""

import os
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import header
from cryofs.errors import GainError
from cryofs.formats import mrc
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.movies.gain_library import GainLibrary, bytes_sha256, load_reference, reference_file, reference_sha256
from tests import faults

NAME = "gain-reference.mrc"
GAIN = np.random.default_rng(0).uniform(0.9, 1.1, (4, 5)).astype(np.float32)
OTHER = GAIN * np.float32(2)
REFERENCES = [
    GainReference(GAIN),
    GainReference(GAIN, Arithmetic.DOUBLE, np.random.default_rng(1).normal(0, 1e-9, GAIN.shape).astype(np.float32)),
    GainReference(GAIN, Arithmetic.RECIPROCAL, np.float32(1) / GAIN),
]


def content(gain: NDArray[np.float32]) -> bytes:
    return header((1, 4, 5), 2) + gain.tobytes()


def put(path: Path, gain: NDArray[np.float32] = GAIN) -> str:
    """Write a reference and return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(gain))
    return bytes_sha256(content(gain))


def same(found: GainReference, gain: NDArray[np.float32] = GAIN) -> bool:
    """Whether a reference is this gain and nothing more."""
    return np.array_equal(found.gain, gain) and found.arithmetic is Arithmetic.SINGLE and found.detail is None


@pytest.mark.parametrize("place", ["a/b", "a", "."])
def test_found_from_the_folder_upwards(tmp_path: Path, place: str) -> None:
    sha256 = put(tmp_path / place / NAME)
    found = GainLibrary(tmp_path).get(sha256, tmp_path / "a" / "b", "movie")
    assert found.gain.dtype == np.float32
    assert same(found)


def test_the_search_stops_at_the_root(tmp_path: Path) -> None:
    sha256 = put(tmp_path / NAME)
    root = tmp_path / "archive"
    assert same(GainLibrary().get(sha256, root / "a", "movie"))
    with pytest.raises(GainError):
        GainLibrary(root).get(sha256, root / "a", "movie")


def test_the_search_does_not_go_down(tmp_path: Path) -> None:
    sha256 = put(tmp_path / "a" / NAME)
    with pytest.raises(GainError):
        GainLibrary(tmp_path).get(sha256, tmp_path, "movie")


def test_content_decides_not_the_place(tmp_path: Path) -> None:
    other = put(tmp_path / "a" / NAME, OTHER)
    sha256 = put(tmp_path / f"gain-reference-{'0' * 8}.mrc")
    library = GainLibrary(tmp_path)
    assert same(library.get(sha256, tmp_path / "a", "movie"))
    assert same(library.get(other, tmp_path / "a", "movie"), OTHER)


def test_a_damaged_reference_may_have_an_intact_copy_further_up(tmp_path: Path) -> None:
    sha256 = put(tmp_path / NAME)
    put(tmp_path / "a" / NAME)
    (tmp_path / "a" / NAME).write_bytes(content(GAIN)[:-1])
    assert same(GainLibrary(tmp_path).get(sha256, tmp_path / "a", "movie"))


def test_a_reference_that_cannot_be_read_may_have_a_copy_further_up(tmp_path: Path) -> None:
    sha256 = put(tmp_path / NAME)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / NAME).symlink_to("nowhere")
    assert same(GainLibrary(tmp_path).get(sha256, tmp_path / "a", "movie"))


def test_paths_are_those_of_references_the_nearest_first(tmp_path: Path) -> None:
    names = ["a/gain-reference-0123abcd.mrc", "a/gain-reference.mrc", "gain-reference.mrc"]
    for name in [
        *names,
        "gain-reference-other.mrc",
        "a/gain-reference.mrc.tif",
        "a/movie.mrc",
        "a/b/gain-reference.mrc",
    ]:
        put(tmp_path / name)
    assert GainLibrary(tmp_path).paths(tmp_path / "a") == [tmp_path / name for name in names]


def test_a_reference_removed_while_the_folder_is_listed_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = put(tmp_path / NAME)
    listed = Path.glob

    def glob(folder: Path, pattern: str) -> Iterator[Path]:
        found = list(listed(folder, pattern))
        for path in found:
            path.unlink()
        return iter(found)

    monkeypatch.setattr(Path, "glob", glob)
    library = GainLibrary(tmp_path)
    with pytest.raises(GainError):
        library.get(sha256, tmp_path, "movie")
    put(tmp_path / NAME)
    library.preload(tmp_path)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("there", [False, True], ids=["missing", "changed"])
def test_no_reference_is_an_error_that_names_movie_and_remedy(tmp_path: Path, there: bool) -> None:
    if there:
        put(tmp_path / NAME, OTHER)
    with pytest.raises(GainError) as caught:
        GainLibrary(tmp_path).get(bytes_sha256(content(GAIN)), tmp_path, "some/movie.mrc")
    assert "some/movie.mrc" in str(caught.value)
    assert NAME in str(caught.value)
    assert bytes_sha256(content(GAIN))[:8] in str(caught.value)


def test_one_copy_serves_all_movies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = put(tmp_path / NAME)
    library = GainLibrary(tmp_path)
    first = library.get(sha256, tmp_path, "one")
    monkeypatch.setattr(
        "cryofs.movies.gain_library.load_reference", lambda path: pytest.fail(f"{path} was loaded again")
    )
    assert library.get(sha256, tmp_path, "two") is first


def test_a_reference_put_back_is_found(tmp_path: Path) -> None:
    library = GainLibrary(tmp_path)
    sha256 = bytes_sha256(content(GAIN))
    with pytest.raises(GainError):
        library.get(sha256, tmp_path, "movie")
    put(tmp_path / NAME)
    assert same(library.get(sha256, tmp_path, "movie"))


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / NAME
    library = GainLibrary(tmp_path)
    old = put(path)
    assert library.sha256(path) == old
    new = put(path, OTHER)
    os.utime(path, ns=(0, 1))  # a time of its own, however coarse the clock
    assert library.sha256(path) == new == reference_sha256(path)
    assert same(library.get(new, tmp_path, "movie"), OTHER)
    with pytest.raises(GainError):
        library.get(old, tmp_path, "movie")


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = put(tmp_path / NAME)
    library = GainLibrary(tmp_path)
    assert library.sha256(tmp_path / NAME) == sha256
    monkeypatch.setattr(
        "cryofs.movies.gain_library.reference_sha256", lambda path: pytest.fail(f"{path} was read again")
    )
    assert library.sha256(tmp_path / NAME) == sha256


def test_a_big_endian_reference_is_loaded_in_native_order(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(header((1, 4, 5), 2, byte_order=">") + GAIN.astype(">f4").tobytes())
    found = load_reference(path)
    assert found.gain.dtype == np.float32
    assert found.gain.flags.c_contiguous
    assert same(found)


@pytest.mark.parametrize(
    "data",
    [
        header((2, 4, 5), 2) + bytes(2 * 80),
        header((1, 4, 5), 1) + bytes(40),
        header((1, 4, 5), 12) + bytes(40),
        content(GAIN)[:-1],
        b"no MRC",
    ],
    ids=["two frames", "int16", "float16", "truncated", "garbage"],
)
def test_other_files_are_not_references(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(data)
    with pytest.raises(GainError, match=NAME):
        load_reference(path)


def test_a_reference_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(GainError, match=NAME):
        load_reference(tmp_path / NAME)


def bits(values: NDArray[np.float32] | None) -> bytes | None:
    return None if values is None else values.tobytes()


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda one: one.arithmetic.name)
@pytest.mark.parametrize("pixel_size", [None, 1.06])
def test_a_reference_of_any_arithmetic_comes_back(
    tmp_path: Path, reference: GainReference, pixel_size: float | None
) -> None:
    (tmp_path / NAME).write_bytes(reference_file(reference, pixel_size))
    found = GainLibrary(tmp_path).get(reference_sha256(tmp_path / NAME), tmp_path, "movie")
    assert found.arithmetic is reference.arithmetic
    assert bits(found.gain) == bits(reference.gain)
    assert bits(found.detail) == bits(reference.detail)
    assert found.shape == GAIN.shape


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda one: one.arithmetic.name)
def test_other_readers_find_the_gain_as_the_one_frame(tmp_path: Path, reference: GainReference) -> None:
    path = tmp_path / NAME
    path.write_bytes(reference_file(reference, 1.06))
    with mrcfile.open(path) as found:
        assert found.data.tobytes() == GAIN.tobytes()
        assert found.voxel_size.x == pytest.approx(1.06)


def test_references_of_another_arithmetic_are_other_files() -> None:
    contents = {reference_file(reference, None) for reference in REFERENCES}
    assert len(contents) == len(REFERENCES)


@pytest.mark.parametrize("kind", ["CFGD", "CFGR"])
@pytest.mark.parametrize("size", [4, GAIN.nbytes - 4, GAIN.nbytes + 4])
def test_a_detail_of_another_size_is_refused(tmp_path: Path, kind: str, size: int) -> None:
    path = tmp_path / NAME
    path.write_bytes(mrc.with_extended_header(header((1, 4, 5), 2), kind, bytes(size)) + GAIN.tobytes())
    with pytest.raises(GainError, match=NAME):
        load_reference(path)


def test_extended_headers_of_other_programs_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(mrc.with_extended_header(header((1, 4, 5), 2), "SERI", GAIN.tobytes()) + GAIN.tobytes())
    assert same(load_reference(path))


def test_a_reference_in_memory_does_not_hide_that_its_file_was_replaced(tmp_path: Path) -> None:
    sha256 = put(tmp_path / NAME)
    library = GainLibrary(tmp_path)
    held = library.get(sha256, tmp_path, "movie")
    assert library.get(sha256, tmp_path, "movie") is held
    put(tmp_path / "new", OTHER)
    (tmp_path / "new").replace(tmp_path / NAME)
    with pytest.raises(GainError, match="missing or changed"):
        library.get(sha256, tmp_path, "movie")
    (tmp_path / NAME).unlink()
    with pytest.raises(GainError, match="missing or changed"):
        library.get(sha256, tmp_path, "movie")
    assert put(tmp_path / NAME) == sha256
    assert same(library.get(sha256, tmp_path, "movie"))


def test_a_reference_replaced_while_it_is_loaded_is_not_taken_for_the_one_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = put(tmp_path / NAME)
    library = GainLibrary(tmp_path)

    def load_another(path: Path) -> GainReference:
        put(tmp_path / "new", OTHER)
        (tmp_path / "new").replace(path)
        return load_reference(path)

    with monkeypatch.context() as patch:
        patch.setattr("cryofs.movies.gain_library.load_reference", load_another)
        with pytest.raises(GainError):
            library.get(sha256, tmp_path, "movie")
    put(tmp_path / NAME)
    assert same(library.get(sha256, tmp_path, "movie"))


def test_a_checksum_of_half_a_file_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = put(tmp_path / NAME)
    library = GainLibrary(tmp_path)
    with monkeypatch.context() as patch:
        faults.inject(patch, faults.end_at(0))
        with pytest.raises(GainError):
            library.get(sha256, tmp_path, "movie")
    assert same(library.get(sha256, tmp_path, "movie"))


def test_links_are_not_references(tmp_path: Path) -> None:
    """One could lead out of the archive, or to a device without an end."""
    sha256 = put(tmp_path / "outside" / NAME)
    root = tmp_path / "archive"
    root.mkdir()
    (root / NAME).symlink_to(tmp_path / "outside" / NAME)
    (root / "gain-reference-01234567.mrc").symlink_to("/dev/zero")
    os.mkfifo(root / "gain-reference-76543210.mrc")
    assert GainLibrary(root).paths(root) == []
    with pytest.raises(GainError):
        GainLibrary(root).get(sha256, root, "movie")
