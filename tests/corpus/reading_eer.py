"""Read damaged EER files and their gain references, and compare them with a plain decoder."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.simulate_eer import Widths
from cryofs.vfs.file_system import FileSystem
from tests import plain_eer
from tests.corpus.eer_specimens import EER_GROUPING, EER_SHAPE, widths_of
from tests.corpus.finding import Finding, mounted, one_command, others_are_intact, read_whole, small_settings
from tests.corpus.mutants import Mutant
from tests.corpus.walker import Directory, NoTiffError, directories
from tests.support import listed_in

# number of frames that are read of longer movies
_MOST_FRAMES = 12
# frames that decide on the event layout of a file
_DECIDING_FRAMES = 8
# most bits after the last event of a frame in the other layout
_MOST_UNREAD_BITS = 96
_EER_COMPRESSIONS = (65000, 65001, 65002)


@dataclass(frozen=True)
class _Fractions:
    """Result of a plain EER decoder: images (None for a fraction without intact frames), and damaged frames."""

    images: list[bytes | None]
    damaged: list[list[int]]


def _plain_fractions(data: bytes, widths: Widths) -> _Fractions | None:
    """Return the fractions of an EER file, or None if it is not an EER file."""
    try:
        found = [one for one in directories(data) if _value(one, 259) in _EER_COMPRESSIONS]
        strips = [directory.strips for directory in found]
    except (NoTiffError, KeyError, ValueError):
        return None
    streams = []
    for directory, places in zip(found, strips, strict=True):
        facts = [_value(directory, tag) for tag in (257, 256, 259)]
        if facts != [*EER_SHAPE, widths.compression]:
            return None
        inside = all(offset + size <= len(data) for offset, size in places)
        stream = b"".join(data[offset : offset + size] for offset, size in places)
        streams.append(stream if inside else None)
    frames = _plain_frames(streams, widths)
    images: list[bytes | None] = []
    damaged = []
    grouping = min(EER_GROUPING, len(frames))
    for first in range(0, len(frames) - grouping + 1, grouping) if frames else ():
        group = frames[first : first + grouping]
        parts = [plain_eer.image(events, EER_SHAPE, 1, widths) for events in group if events is not None]
        images.append(np.sum(parts, axis=0, dtype=np.int64).astype("<i2").tobytes() if parts else None)
        damaged.append([first + index for index, events in enumerate(group) if events is None])
    return _Fractions(images, damaged)


def _plain_frames(streams: Sequence[bytes | None], widths: Widths) -> list[list[plain_eer.PlainEvent] | None]:
    """Return the events of each frame, None for damaged frames.

    The first frames decide between the two layouts of compression 65000; a frame that is damaged by this layout may
    have the other one.
    """
    layouts = [widths]
    if widths.compression == 65000:
        layouts = [replace(widths, overflow=bits) for bits in (12, 8)]
    total = EER_SHAPE[0] * EER_SHAPE[1]
    found = [
        [None if one is None else plain_eer.decode_frame(one, total, layout) for one in streams] for layout in layouts
    ]
    deciding = [number for number, one in enumerate(streams) if one is not None][:_DECIDING_FRAMES]

    def intact(frames: list[plain_eer.PlainFrame | None]) -> tuple[int, int]:
        first = [frame for number in deciding if (frame := frames[number]) is not None]
        return len(first), -sum(frame.unread for frame in first)

    usual = max(found, key=intact)
    other = next((frames for frames in found if frames is not usual), [None] * len(streams))
    events: list[list[plain_eer.PlainEvent] | None] = []
    for frame, by_other in zip(usual, other, strict=True):
        if frame is None and by_other is not None and by_other.unread <= _MOST_UNREAD_BITS:
            frame = by_other
        events.append(frame.events if frame is not None else None)
    return events


def _value(directory: Directory, tag: int) -> int | None:
    entry = directory.entries.get(tag)
    return entry.values[0] if entry is not None and entry.values else None


def _read_fractions(files: FileSystem, mutant: Mutant, expected: _Fractions | None, finding: Finding) -> None:
    specimen = mutant.specimen
    size = files.attributes("/movie.mrc").size
    count = (size - specimen.header_bytes) // specimen.frame_bytes
    handle = files.open("/movie.mrc")
    # if all frames have another size in their tags, the file is valid with that size
    if specimen.kind == "eer" and "everywhere" not in mutant.label:
        finding.expect(expected is not None and count == len(expected.images), f"{count} fractions")
    finding.expect(len(files.read(handle, 1024, 0)) == 1024, "a short header")
    images = expected.images if expected is not None else []
    for index in range(min(count, _MOST_FRAMES)):
        start = specimen.header_bytes + index * specimen.frame_bytes
        with finding.reporting(f"fraction {index}", r"movie\.eer"):
            found = bytes(files.read(handle, specimen.frame_bytes, start))
            if index < len(images):
                # no bytes are correct for a fraction without an intact frame
                finding.expect_bytes(found, images[index] or b"", f"fraction {index}")
    files.release(handle)
    reported = (files.file_facts("/movie.mrc") or {})["damaged_frames"]
    if expected is not None:
        left_out = {frame for frames in expected.damaged for frame in frames}
        finding.expect(left_out <= set(reported), f"excluded {left_out}, but reported {reported}")


def read_eer(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    specimen, data = mutant.specimen, mutant.data
    assert data is not None
    expected = _plain_fractions(data, widths_of(specimen)) if specimen.kind == "eer" else None
    with mounted(folder, small_settings()) as files:
        finding.expect_bytes(read_whole(files, "/movie.eer"), data, "/movie.eer")
        if "movie.mrc" in {name for name, _ in listed_in(files, "/")}:
            with finding.reporting("fractions", r"movie\.eer"):
                _read_fractions(files, mutant, expected, finding)
        else:
            with contextlib.suppress(FileNotFoundError):
                files.attributes("/movie.mrc")
                finding.expect(False, "fractions that are not listed are found")
            named = any("movie.eer: " in line for line in files.facts()["damaged"])
            finding.expect(named, "the mount has no fractions and reports no reason")
        others_are_intact(files, specimen, finding, {"/movie.eer", "/movie.mrc"})
    one_command(finding, ["info", folder / "movie.eer", "--json", "--jobs", 1], r"movie\.eer")
    arguments = ["compress", folder / "movie.eer", "-o", out, "--jobs", 1, "--eer", "tiff"]
    done, _ = one_command(finding, [*arguments, "--eer-grouping", EER_GROUPING], r"movie\.eer")
    if done and expected is not None:
        finding.expect(None not in expected.images, "stored a fraction without an intact frame")
        one_command(finding, ["extract", out / "movie.mrc.tif", "-o", out / "back", "--jobs", 1])
        finding.expect_bytes(
            (out / "back" / "movie.mrc").read_bytes()[1024:], b"".join(filter(None, expected.images)), "stored"
        )


def read_eer_gain(mutant: Mutant, folder: Path, out: Path, finding: Finding) -> None:
    """Check that damage of a gain reference without checksum is reported if detectable, and nothing is padded."""
    specimen = mutant.specimen
    with finding.reporting("fractions", "detector.gain"):
        settings = small_settings(eer_gain=str(folder / specimen.file), eer_apply_gain=True)
        with mounted(folder, settings) as files:
            shown = specimen.shown[specimen.victim]
            found = read_whole(files, "/movie.mrc")
            finding.expect(len(found) == len(shown), "another size")
            if mutant.data is not None and "cut at" in mutant.label:
                finding.expect_bytes(found, shown, "with a gain reference that is cut")
