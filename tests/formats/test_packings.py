"""Packed files: their sizes, their bytes at any offset, and their damage, against the programs that write them."""

import contextlib
import random
import subprocess
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofs.errors import DamagedError
from cryofs.formats import gzip_file
from cryofs.formats.packing import make_index, unpacked_size
from cryofs.formats.packings import PACKINGS, packed_names, packing_of, unpacked_name
from cryofs.movies.unpacked import UnpackedSource
from cryofs.storage.byte_source import LocalFile
from tests.formats.packed_samples import IN_PARTS, WAYS, WITHOUT_SUM, sample

SIZE = 1_300_000
# one way of each kind of structure
FEW = ("bzip2", "pbzip2", "gzip", "pigz -i", "xz", "xz -T2", "zstd", "zstd from a pipe", "pzstd")


def opened(path: Path) -> UnpackedSource:
    packing = packing_of(path.name)
    assert packing is not None
    file = LocalFile.open(path)
    try:
        return UnpackedSource(file, packing, make_index(packing, file))
    except BaseException:
        file.close()
        raise


@pytest.mark.parametrize("way", WAYS)
def test_bytes_at_any_offset(way: str, tmp_path: Path) -> None:
    suffix, pack = WAYS[way]
    data = sample(SIZE)
    path = tmp_path / f"movie.mrc{suffix}"
    path.write_bytes(pack(data))
    with opened(path) as source:
        assert source.size == len(data)
        assert source.read(len(data) + 5, 0) == data
        rng = random.Random(3)
        places = [(rng.randrange(SIZE), rng.choice([1, 100, 70_000, 1 << 20])) for _ in range(12)]
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(lambda place: source.read(place[1], place[0]), places))
        assert found == [data[at : at + size] for at, size in places]
        assert source.read(10, SIZE) == source.read(10, SIZE + 3) == b""


@pytest.mark.parametrize("way", WAYS)
def test_size_is_stated_or_found(way: str, tmp_path: Path) -> None:
    suffix, pack = WAYS[way]
    path = tmp_path / f"movie.mrc{suffix}"
    path.write_bytes(pack(sample(300_001)))
    packing = packing_of(path.name)
    assert packing is not None
    with LocalFile.open(path) as source, ThreadPoolExecutor(2) as pool:
        known = packing.known_size(source)
        states_it = packing.name in ("xz", "zstd") and way != "zstd from a pipe"
        assert known == (300_001 if states_it else None)
        assert unpacked_size(packing, source, pool) == 300_001


@pytest.mark.parametrize("way", WAYS)
def test_empty_files(way: str, tmp_path: Path) -> None:
    suffix, pack = WAYS[way]
    path = tmp_path / f"movie.mrc{suffix}"
    path.write_bytes(pack(b""))
    if not path.stat().st_size:
        return
    with opened(path) as source:
        assert (source.size, source.read(10, 0)) == (0, b"")


@pytest.mark.parametrize("way", WAYS)
def test_truncation_and_garbage_are_damage(way: str, tmp_path: Path) -> None:
    suffix, pack = WAYS[way]
    whole = pack(sample(200_000)).rstrip(b"\0")
    path = tmp_path / f"movie.mrc{suffix}"
    rng = random.Random(5)
    pieces = [whole[: rng.randrange(len(whole) - 40)] for _ in range(4)]
    for damaged in (*pieces, b"", bytes(100), b"text" * 10, whole + b"text" * 10):
        path.write_bytes(damaged)
        if way in IN_PARTS and whole.startswith(damaged) and damaged:
            # the first parts are a file too
            with contextlib.suppress(DamagedError), opened(path) as source:
                assert sample(200_000).startswith(source.read(source.size, 0))
        else:
            with pytest.raises(DamagedError, match=path.name):
                opened(path).close()


@pytest.mark.parametrize("way", [way for way in FEW if way not in WITHOUT_SUM])
def test_a_flipped_bit_never_changes_bytes(way: str, tmp_path: Path) -> None:
    suffix, pack = WAYS[way]
    data = sample(200_000)
    whole = pack(data)
    path = tmp_path / f"movie.mrc{suffix}"
    rng = random.Random(7)
    failed = 0
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            with opened(path) as source:
                assert source.read(source.size, 0) == data
        except DamagedError:
            failed += 1
    # headers have bits without effect, such as times
    assert failed > 8


@pytest.mark.parametrize("way", FEW)
def test_a_file_that_changed_after_its_index_is_damage(way: str, tmp_path: Path) -> None:
    suffix, pack = WAYS[way]
    data = sample(SIZE)
    path = tmp_path / f"movie.mrc{suffix}"
    path.write_bytes(pack(data))
    packing = packing_of(path.name)
    assert packing is not None
    with LocalFile.open(path) as file:
        index = make_index(packing, file)
    rotten = bytearray(path.read_bytes())
    for at in range(100, len(rotten) - 100, 5000):
        rotten[at] ^= 0x10
    path.write_bytes(rotten)
    with UnpackedSource(LocalFile.open(path), packing, index) as source:
        for at in range(0, SIZE, 200_000):
            with contextlib.suppress(DamagedError):
                assert source.read(1000, at) == data[at : at + 1000]


_SMALL = sample(30_000, seed=9)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(WAYS)),
    st.lists(st.binary(max_size=3000), max_size=4),
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 9000)), max_size=5),
)
def test_any_bytes_at_any_offset(
    tmp_path_factory: pytest.TempPathFactory, way: str, parts: list[bytes], places: list[tuple[int, int]]
) -> None:
    suffix, pack = WAYS[way]
    data = _SMALL[: 7 * sum(map(len, parts))] + b"".join(parts)
    path = tmp_path_factory.mktemp("packed") / f"movie.mrc{suffix}"
    path.write_bytes(pack(data) or pack(b"x"))
    if not pack(data):
        return
    with opened(path) as source:
        assert source.size == len(data)
        for at, size in places:
            assert source.read(size, at) == data[at : at + size]


@pytest.mark.parametrize("program", ["bzip2", "gzip", "xz", "zstd"])
def test_bytes_equal_those_of_the_program(program: str, tmp_path: Path) -> None:
    plain = tmp_path / "movie.mrc"
    plain.write_bytes(sample(1_500_000))
    arguments = ["-q", "-k"] if program == "zstd" else ["-k"]
    subprocess.run([program, *arguments, plain], check=True)
    (path,) = tmp_path.glob("movie.mrc.*")
    right = subprocess.run([program, "-dc", path], check=True, capture_output=True).stdout
    with opened(path) as source:
        assert source.read(source.size, 0) == right == plain.read_bytes()


@pytest.mark.parametrize("suffix", [".bz2", ".gz", ".zst"])
def test_zeros_need_little_memory(suffix: str, tmp_path: Path) -> None:
    # each packed byte becomes more than a thousand
    way = {".bz2": "bzip2", ".gz": "gzip", ".zst": "zstd"}[suffix]
    path = tmp_path / f"movie.mrc{suffix}"
    size = 180 << 20
    path.write_bytes(WAYS[way][1](bytes(size)))
    tracemalloc.start()
    try:
        with opened(path) as source:
            assert source.size == size
            assert source.read(5, size - 5) == bytes(5)
        # a block of bzip2 holds 46 MB of zeros
        assert tracemalloc.get_traced_memory()[1] < 170 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["gzip", "pigz -i", "gzip of blocks of any number of bits"])
def test_decoders_of_gzip_start_at_any_bit(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_file, "_SPACING", 40_000)
    data = sample(1_500_000, seed=4)
    path = tmp_path / "movie.mrc.gz"
    path.write_bytes(WAYS[way][1](data))
    packing = packing_of(path.name)
    assert packing is not None
    with LocalFile.open(path) as source:
        points = make_index(packing, source).points
        assert len(points.offsets) > 10
        for start in map(int, points.offsets[points.offsets < len(data)]):
            decoder, found = packing.decoder(source, points, start), bytearray()
            assert decoder.position == start
            while len(found) < 100_000 and len(piece := decoder.read(30_000)):
                found += piece
            assert found == data[start : start + len(found)]
            assert found


def test_names() -> None:
    assert unpacked_name("a.mrc.bz2") == "a.mrc"
    assert unpacked_name("a.MRC.BZ2") == "a.MRC"
    assert unpacked_name("a.mrcs.Gz") == "a.mrcs"
    assert [unpacked_name(name) for name in ("a.bz2", "a.mrc", ".a.mrc.gz", "a.tif.gz", "a.mrc.bZ2")] == [None] * 5
    assert packing_of("a.mrc.bZ2") is PACKINGS[0]
    assert packed_names("a.mrc")[:4] == ["a.mrc.bz2", "a.mrc.gz", "a.mrc.xz", "a.mrc.zst"]
    assert all(unpacked_name(name) == "a.mrcs" for name in packed_names("a.mrcs"))
    assert packed_names("a.tif") == packed_names(".a.mrc") == []
