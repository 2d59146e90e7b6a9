"""Damage of the directories of TIFF and EER files."""

import struct
from collections.abc import Iterator

from tests import hostile
from tests.corpus.changes import Change, patched, set_field
from tests.corpus.specimen import Specimen
from tests.corpus.walker import Directory, Form, directories


def tags(specimen: Specimen) -> Iterator[tuple[str, Change]]:
    """Set each field of each tag of the first, a middle and the last directory to wrong values."""
    data = specimen.data
    form = Form.of(data)
    found = directories(data)
    word, places = form.word, [directory.place for directory in found]
    yield "byte order", lambda data: patched(data, 0, b"MM" if form.order == "<" else b"II")
    yield "version", lambda data: patched(data, 2, struct.pack(form.order + "H", 42 if form.big else 43))
    for number in sorted({0, len(found) // 2, len(found) - 1}):
        for target in (places[0], places[number], places[-1], 0, 3, len(data) - 3, 2**31, 2**32 - 1):
            if target != places[0] or number == len(found) - 1:
                yield f"directory {number} leads to {target}", set_field(found[number].link, word, target)
        count_form = form.order + ("Q" if form.big else "H")
        for count in (0, 1, 200, 65535):
            yield f"directory {number} of {count} entries", set_field(found[number].place, count_form, count)
        for entry in found[number].entries.values():
            for what, change in _entry_changes(form, entry.place):
                yield f"directory {number}, tag {entry.tag}, {what}", change
    for tag in (256, 257, 258, 259, 278):
        for value in (0, 1, 2**16 - 1, 2**31, 2**32 - 1):
            yield (
                f"tag {tag} is {value} everywhere",
                lambda data, tag=tag, value=value: _everywhere(  # type: ignore[misc]
                    data, form, found, tag, value
                ),
            )


def _entry_changes(form: Form, place: int) -> Iterator[tuple[str, Change]]:
    order = form.order
    for kind in (0, 2, 3, 12, 99):
        yield f"type {kind}", set_field(place + 2, order + "H", kind)
    for count in (0, 2, 2**31, 2**32 - 1):
        yield f"count {count}", set_field(place + 4, form.word, count)
    for value in (0, 1, 7, 2**16, 2**31, 2**32 - 1):
        yield f"value {value}", set_field(place + form.entry_bytes - (8 if form.big else 4), form.word, value)
    if form.big:
        yield "negative value", set_field(place + 12, order + "q", -8)
        yield "negative count", set_field(place + 4, order + "q", -1)


def _everywhere(data: bytes, form: Form, found: list[Directory], tag: int, value: int) -> bytes:
    for directory in found:
        if tag in directory.entries:
            # as LONG, independent of the original type
            place = directory.entries[tag].place
            entry = struct.pack(
                form.order + "HHQII" if form.big else form.order + "HHII", tag, 4, 1, value, *[0][: form.big]
            )
            data = patched(data, place, entry)
    return data


def hostile_tiffs(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield TIFF movies made to exhaust memory or to be misread."""
    yield "images share their lists of strips", lambda _: hostile.shared_lists()
    yield "directories overlap", lambda _: hostile.overlapping_directories()
    yield "strips overlap", lambda _: hostile.overlapping_strips()
    yield "frames of two gigabytes", lambda _: hostile.large_frames(1 << 15, 1 << 16)
    yield "two billion columns", lambda _: hostile.wide_frames()
    yield "bits are reversed", lambda _: hostile.tagged((266, hostile.SHORT, 1, 2))
    yield "a tile larger than the file", lambda _: hostile.large_tile()
    yield "a dictionary of four gigabytes", lambda _: hostile.large_dictionary()


def hostile_eers(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield EER files made to exhaust memory or time."""
    yield "directories overlap", lambda _: hostile.overlapping_directories(200_000)
    yield "frames share their lists of strips", lambda _: hostile.shared_lists(20, compression=65001)
