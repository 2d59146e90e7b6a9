"""EER containers: location of frames, rejected files, excluded frames."""

import functools
import os
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulate_eer import BigTiff, Events, Widths, encode, metadata, random_frames, write_eer
from cryofs.errors import FormatError
from cryofs.formats import eer
from cryofs.formats.eer import EerIndex, EventCode
from cryofs.storage.byte_source import LocalFile
from tests import hostile
from tests.conftest import open_bytes

SHAPE = (40, 52)
FALCON = Widths()
FRAMES = list(random_frames(6, SHAPE, 0.02, FALCON))


def index_of(path: Path) -> EerIndex:
    return index_of_bytes(path.read_bytes())


def index_of_bytes(data: bytes) -> EerIndex:
    with open_bytes(data, "x.eer") as source:
        return eer.read_index(source)


def streams_of(path: Path, frames: list[int]) -> list[bytes]:
    data = path.read_bytes()
    with open_bytes(data, "x.eer") as source:
        index = eer.read_index(source)
        streams = eer.read_streams(source, index, frames)
    flat = streams.words.tobytes()
    return [flat[start // 8 : end // 8] for start, end in zip(streams.starts, streams.ends, strict=True)]


@pytest.mark.parametrize(
    ("widths", "code"),
    [
        (Widths(8, 2, 2, 65000), EventCode(8, 2, 2, 12)),
        (Widths(7, 2, 2, 65001), EventCode(7, 2, 2, 7)),
        (Widths(7, 1, 1, 65002), EventCode(7, 1, 1, 7)),
        (Widths(9, 3, 2, 65002), EventCode(9, 3, 2, 9)),
    ],
)
def test_frames_of_every_width(tmp_path: Path, widths: Widths, code: EventCode) -> None:
    frames = list(random_frames(4, SHAPE, 0.02, widths))
    write_eer(tmp_path / "x.eer", frames, SHAPE, widths)
    index = index_of(tmp_path / "x.eer")
    assert (index.frames, index.ny, index.nx, index.code) == (4, *SHAPE, code)
    assert index.intact.all()
    assert streams_of(tmp_path / "x.eer", [0, 1, 2, 3]) == frames
    assert streams_of(tmp_path / "x.eer", [3, 1]) == [frames[3], frames[1]]


@pytest.mark.parametrize("strips", [2, 3, 7])
def test_strips_of_a_frame_are_one_stream(tmp_path: Path, strips: int) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, strips=strips)
    assert streams_of(tmp_path / "x.eer", list(range(6))) == FRAMES


def test_a_summed_image_is_skipped(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, summed_image=True, xml=metadata(6, 3.5, 0.8))
    assert index_of(tmp_path / "x.eer").frames == 6
    assert streams_of(tmp_path / "x.eer", list(range(6))) == FRAMES


def test_a_summed_image_after_the_frames_is_skipped(tmp_path: Path) -> None:
    with BigTiff(tmp_path / "x.eer") as tiff:
        for frame in FRAMES:
            tiff.add(SHAPE, FALCON.compression, 8, [frame], {})
        tiff.add(SHAPE, 1, 16, [bytes(2 * SHAPE[0] * SHAPE[1])], {65006: (7, metadata(6, 3.5, 0.8))})
    assert index_of(tmp_path / "x.eer").metadata["totalDose"] == "3.5"
    assert streams_of(tmp_path / "x.eer", list(range(6))) == FRAMES


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with BigTiff(tmp_path / "x.eer") as tiff:
        tiff.add(SHAPE, FALCON.compression, 8, [FRAMES[0]], {})
        tiff.add((SHAPE[0], SHAPE[1] + 1), FALCON.compression, 8, [FRAMES[1]], {})
    with pytest.raises(FormatError, match="image 1 differs"):
        index_of(tmp_path / "x.eer")


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", [], SHAPE, FALCON, summed_image=True)
    with pytest.raises(FormatError, match="without electron events"):
        index_of(tmp_path / "x.eer")


def test_metadata(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(6, 3.5, 0.8))
    found = index_of(tmp_path / "x.eer").metadata
    assert (found["numberOfFrames"], found["totalDose"], found["acquisitionID"]) == ("6", "3.5", "simulated")
    assert float(found["sensorPixelSize.width"]) == pytest.approx(0.8e-10)


@pytest.mark.parametrize(
    "xml",
    [
        b"no XML at all",
        b"<metadata><item name='a'>",
        b"\xff\xfe\xff",
        b"<!DOCTYPE m [<!ENTITY e 'x'>]><metadata><item name='a'>&e;</item></metadata>",
    ],
)
def test_invalid_metadata_do_not_prevent_reading(tmp_path: Path, xml: bytes) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=xml)
    index = index_of(tmp_path / "x.eer")
    assert (index.metadata, index.frames) == ({}, 6)


def test_prototypes_without_vertical_bits(tmp_path: Path) -> None:
    widths = Widths(7, 2, 2, 65002)
    write_eer(tmp_path / "x.eer", list(random_frames(2, SHAPE, 0.02, widths)), SHAPE, widths)
    # change the tag to an unknown one
    data = (tmp_path / "x.eer").read_bytes().replace(struct.pack("<H", 65009), struct.pack("<H", 65010))
    assert index_of_bytes(data).code == EventCode(7, 2, 2, 7)


def legacy(frames: list[bytes], footers: list[bytes]) -> bytes:
    pieces = []
    for frame, footer in zip(frames, footers, strict=True):
        words = -(-len(frame) // 8)
        pieces.append(frame.ljust(8 * words, b"\0") + struct.pack("<q", words) + footer)
    return b"".join(pieces)


def test_the_container_without_tiff() -> None:
    ok, error = b"ThermoFisherECComprOK000", b"ThermoFisherECComprERR00"
    frames = [encode(Events(np.array([place]), np.array([0]), np.array([0])), 4096**2, FALCON) for place in (5, 70000)]
    data = legacy([*frames, frames[0]], [ok, ok, error])
    index = index_of_bytes(data)
    assert (index.frames, index.ny, index.nx, index.code) == (3, 4096, 4096, EventCode(7, 2, 2, 7))
    assert index.intact.tolist() == [True, True, False]
    assert data[index.offsets[1] : index.offsets[1] + index.byte_counts[1]].startswith(frames[1])
    for broken in (data[1:], data[:-1], data + b"x", ok, b""):
        with pytest.raises(FormatError, match=r"x\.eer: .*copy the file again"):
            index_of_bytes(broken)


def test_classic_tiff_of_either_byte_order() -> None:
    total = SHAPE[0] * SHAPE[1]
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        tags = [(256, 4, SHAPE[1]), (257, 4, SHAPE[0]), (259, 4, 65001), (273, 4, 200), (279, 4, len(FRAMES[0]))]
        directory = struct.pack(order + "H", len(tags))
        directory += b"".join(struct.pack(order + "HHII", tag, kind, 1, value) for tag, kind, value in tags)
        head = magic + struct.pack(order + "I", 8) + directory + bytes(4)
        index = index_of_bytes(head.ljust(200, b"\0") + FRAMES[0])
        assert (index.frames, index.ny * index.nx, index.intact.tolist()) == (1, total, [True])


def test_many_frames_are_indexed_quickly(tmp_path: Path) -> None:
    frame = encode(Events(np.array([3]), np.array([1]), np.array([1])), 16, FALCON)
    write_eer(tmp_path / "x.eer", [frame] * 65600, (4, 4), FALCON)
    started = time.process_time()
    index = index_of(tmp_path / "x.eer")
    assert index.frames == 65600
    assert index.intact.all()
    # a generous limit that only quadratic loops exceed
    assert time.process_time() - started < 60


def patched(path: Path, tag: int, value: int, number: int = 0) -> bytes:
    """Return a file with the value of a tag changed in one of its directories."""
    data = bytearray(path.read_bytes())
    (place,) = struct.unpack_from("<Q", data, 8)
    for _ in range(number):
        (count,) = struct.unpack_from("<Q", data, place)
        (place,) = struct.unpack_from("<Q", data, place + 8 + 20 * count)
    (count,) = struct.unpack_from("<Q", data, place)
    for entry in range(place + 8, place + 8 + 20 * count, 20):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<Q", data, entry + 12, value)
    if tag == 0:
        struct.pack_into("<Q", data, place + 8 + 20 * count, value)
    return bytes(data)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON)
    return tmp_path / "x.eer"


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (257, 4096, "differs"),
        (259, 65000, "differs"),
        (0, 1 << 62, "beyond the end"),
        (0, 2**64 - 1, "beyond the end"),
    ],
)
def test_damaged_directories_are_rejected(movie: Path, tag: int, value: int, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        index_of_bytes(patched(movie, tag, value, number=3))


@pytest.mark.parametrize("shape", [(40, 0), (0, 40), (40, 1 << 20), (1 << 31, 1 << 31)])
def test_invalid_sizes_are_rejected(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, shape, FALCON)
    with pytest.raises(FormatError, match="invalid frame size"):
        index_of(tmp_path / "x.eer")


def test_a_circular_chain_of_directories_is_rejected(movie: Path) -> None:
    (first,) = struct.unpack_from("<Q", movie.read_bytes(), 8)
    with pytest.raises(FormatError, match="circular"):
        index_of_bytes(patched(movie, 0, first, number=4))


def test_overlapping_directories_are_rejected() -> None:
    with pytest.raises(FormatError, match=r"x\.eer: invalid image directories \(larger than the file\); copy"):
        index_of_bytes(hostile.overlapping_directories())


def test_strip_lists_shared_by_frames_are_rejected() -> None:
    with pytest.raises(FormatError, match="too many strips for the size of the file"):
        index_of_bytes(hostile.shared_lists(compression=65001))


@pytest.mark.parametrize(("tag", "value"), [(273, 1 << 40), (273, 2**64 - 1), (279, 1 << 60), (279, 0), (279, 1)])
def test_a_frame_with_a_missing_strip_is_not_intact(movie: Path, tag: int, value: int) -> None:
    index = index_of_bytes(patched(movie, tag, value, number=2))
    assert index.intact.tolist() == [True, True, False, True, True, True]


def test_a_file_without_intact_frames_is_rejected(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", [b"\0"] * 3, (4096, 4096), FALCON)
    with pytest.raises(FormatError, match=r"no intact frames \(all 3 frames of 4096 x 4096 pixels are damaged\)"):
        index_of(tmp_path / "x.eer")


def test_other_files_are_rejected(tmp_path: Path) -> None:
    for data in (b"", b"II+\0", b"II*\0\x08\0\0\0", os.urandom(5000), bytes(5000)):
        with pytest.raises(FormatError, match=r"^x\.eer: "):
            index_of_bytes(data)
    write_eer(tmp_path / "x.eer", [], SHAPE, FALCON, summed_image=True)
    with pytest.raises(FormatError, match=r"not an EER file .*without electron events"):
        index_of(tmp_path / "x.eer")


@functools.cache
def whole_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.eer"
        write_eer(path, FRAMES, SHAPE, FALCON, xml=metadata(6, 3.5, 0.8), strips=2)
        return path.read_bytes()


@given(st.data())
def test_truncated_and_changed_files_are_rejected_or_indexed(data: st.DataObject) -> None:
    whole = whole_file()
    changed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for place in data.draw(st.lists(st.integers(0, max(len(changed) - 1, 0)), max_size=8)):
        if changed:
            changed[place] = data.draw(st.integers(0, 255))
    try:
        index = index_of_bytes(bytes(changed))
    except FormatError:
        return
    frames = np.flatnonzero(index.intact).tolist()
    with open_bytes(bytes(changed), "x.eer") as source:
        eer.read_streams(source, index, frames)


def test_overlapping_strips_are_rejected(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON)
    data = (tmp_path / "x.eer").read_bytes()
    for number in range(6):
        data = patched(tmp_path / "x.eer", 279, len(data) // 2, number)
        (tmp_path / "x.eer").write_bytes(data)
        data = patched(tmp_path / "x.eer", 273, 16, number)
        (tmp_path / "x.eer").write_bytes(data)
    with pytest.raises(FormatError, match=r"invalid strips \(larger than the file\)"):
        index_of_bytes(data)


def test_directories_are_announced_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths, shape = FALCON, (200, 260)
    write_eer(tmp_path / "x.eer", random_frames(60, shape, 0.2, widths), shape, widths)
    events: list[tuple[str, int, int]] = []
    with LocalFile.open(tmp_path / "x.eer") as source:
        read, announce = source.read, source.announce

        def noted_read(size: int, offset: int) -> bytes:
            events.append(("read", offset, size))
            return read(size, offset)

        def noted_announce(size: int, offset: int) -> None:
            events.append(("announce", offset, size))
            announce(size, offset)

        monkeypatch.setattr(source, "read", noted_read)
        monkeypatch.setattr(source, "announce", noted_announce)
        assert eer.read_index(source).frames == 60
    announced, known = [], 0
    for what, offset, size in events:
        if what == "announce":
            announced.append(range(offset, offset + size))
        else:
            known += any(offset in place for place in announced)
    assert known >= 50
