"""Damaged copies of specimens, reproducible by a seed: first systematic damage, then random damage."""

import itertools
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from cryofs.formats.record import MAGIC, VERSION, Record, read_record
from cryofs.storage.checksums import RunningChecksum, xxh3_checksum
from tests import hostile
from tests.conftest import open_bytes
from tests.corpus.specimens import Kind, Specimen
from tests.corpus.walker import Directory, Form, NoTiffError, directories
from tests.hostile import bomb

Change = Callable[[bytes], bytes | None]

FOOTER_BYTES = 48
BOMB_BYTES = 1 << 31
# largest share of systematic mutants; the others are random
_MOST_THOUGHT_OUT = 0.7
_NUMBERS = (0, 1, 2, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**33 + 7, 2**63 - 1, 2**63, 2**64 - 1)


@dataclass(frozen=True)
class Mutant:
    """A damaged file: its specimen, a label of the damage, and its bytes (None for a deleted file)."""

    specimen: Specimen
    label: str
    data: bytes | None

    def __str__(self) -> str:
        return f"{self.specimen.name}/{self.specimen.file}, {self.label}"


@dataclass(frozen=True)
class _Idea:
    """A mutant that is not generated yet."""

    specimen: Specimen
    family: str
    label: str
    change: Change

    def mutant(self) -> Mutant:
        return Mutant(self.specimen, f"{self.family}: {self.label}", self.change(self.specimen.data))


def mutants(specimens: list[Specimen], count: int, seed: int) -> Iterator[Mutant]:
    """Yield `count` mutants in an order determined by the seed; each differs from its specimen."""
    rng = random.Random(seed)
    ideas = itertools.islice(_taking_turns(specimens, rng), int(count * _MOST_THOUGHT_OUT) + 1)
    endless = itertools.chain(ideas, (_random(specimens, rng) for _ in itertools.count()))
    made = (idea.mutant() for idea in endless)
    return itertools.islice((one for one in made if one.data != one.specimen.data), count)


def _taking_turns(specimens: list[Specimen], rng: random.Random) -> Iterator[_Idea]:
    """Yield all systematic mutants, alternating between families and kinds, so that a few cover much."""
    families: dict[tuple[str, str], list[_Idea]] = {}
    for specimen in specimens:
        for idea in systematic(specimen):
            families.setdefault((specimen.kind, idea.family), []).append(idea)
    for ideas in families.values():
        rng.shuffle(ideas)
    for turn in itertools.zip_longest(*families.values()):
        yield from filter(None, turn)


def systematic(specimen: Specimen) -> Iterator[_Idea]:
    """Yield the systematic damage of a file."""
    for family in _FAMILIES[specimen.kind]:
        yield from (_Idea(specimen, family.__name__.strip("_"), *change) for change in family(specimen))


def _random(specimens: list[Specimen], rng: random.Random) -> _Idea:
    # half of them are archived movies
    archived = [specimen for specimen in specimens if specimen.kind in ("archived", "adopted")]
    specimen = rng.choice(archived if rng.random() < 0.5 else specimens)
    label, change = rng.choice(_RANDOM)(specimen, random.Random(rng.random()))
    return _Idea(specimen, "random", label, change)


def places_of(specimen: Specimen) -> list[int]:
    """Return the offsets of the parts of a file."""
    data = specimen.data
    found = {0, 1, 4, 8, len(data) // 2, len(data) - 1, len(data)}
    if specimen.kind in ("source", "gain"):
        found |= {92, 212, 1023, 1024, 1024 + 128}
    try:
        for directory in directories(data):
            found |= {directory.place, directory.place + 2, directory.link, directory.link + 4, directory.link + 8}
            found |= {place for offset, size in directory.strips for place in (offset, offset + size)}
    except NoTiffError:
        pass
    if specimen.kind in ("archived", "adopted"):
        record, start = _record_of(data)
        blobs = [record.header, *record.trailing, *(one.exceptions.blob for one in record.frames if one.exceptions)]
        found |= {place for blob in blobs for place in (blob.offset, blob.offset + blob.stored)}
        found |= {start, len(data) - FOOTER_BYTES, len(data) - 40, len(data) - 16}
    return sorted(place for place in found if 0 <= place <= len(data))


def _truncations(specimen: Specimen) -> Iterator[tuple[str, Change]]:
    for place in places_of(specimen):
        for end in (place, place - 1):
            if 0 <= end < len(specimen.data):
                yield f"cut at {end}", lambda data, end=end: data[:end]  # type: ignore[misc]
    yield "longer by a byte", lambda data: data + b"\0"
    yield "twice", lambda data: data + data


def _patched(data: bytes, place: int, piece: bytes) -> bytes:
    return data[:place] + piece + data[place + len(piece) :]


def _tags(specimen: Specimen) -> Iterator[tuple[str, Change]]:
    """Set each field of each tag of the first, a middle and the last directory to wrong values."""
    data = specimen.data
    form = Form.of(data)
    found = directories(data)
    word, places = form.word, [directory.place for directory in found]
    yield "byte order", lambda data: _patched(data, 0, b"MM" if form.order == "<" else b"II")
    yield "version", lambda data: _patched(data, 2, struct.pack(form.order + "H", 42 if form.big else 43))
    for number in sorted({0, len(found) // 2, len(found) - 1}):
        for target in (places[0], places[number], places[-1], 0, 3, len(data) - 3, 2**31, 2**32 - 1):
            if target != places[0] or number == len(found) - 1:
                yield f"directory {number} leads to {target}", _setter(found[number].link, word, target)
        count_form = form.order + ("Q" if form.big else "H")
        for count in (0, 1, 200, 65535):
            yield f"directory {number} of {count} entries", _setter(found[number].place, count_form, count)
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
        yield f"type {kind}", _setter(place + 2, order + "H", kind)
    for count in (0, 2, 2**31, 2**32 - 1):
        yield f"count {count}", _setter(place + 4, form.word, count)
    for value in (0, 1, 7, 2**16, 2**31, 2**32 - 1):
        yield f"value {value}", _setter(place + form.entry_bytes - (8 if form.big else 4), form.word, value)
    if form.big:
        yield "negative value", _setter(place + 12, order + "q", -8)
        yield "negative count", _setter(place + 4, order + "q", -1)


def _everywhere(data: bytes, form: Form, found: list[Directory], tag: int, value: int) -> bytes:
    for directory in found:
        if tag in directory.entries:
            # as LONG, independent of the original type
            place = directory.entries[tag].place
            entry = struct.pack(
                form.order + "HHQII" if form.big else form.order + "HHII", tag, 4, 1, value, *[0][: form.big]
            )
            data = _patched(data, place, entry)
    return data


def _setter(place: int, letter: str, value: int) -> Change:
    bits = 8 * struct.calcsize(letter)
    piece = struct.pack(letter, value if value < 0 else value & ((1 << bits) - 1))
    return lambda data: _patched(data, place, piece)


def _record_of(data: bytes) -> tuple[Record, int]:
    with open_bytes(data, "specimen") as source:
        record = read_record(source)
    return record, struct.unpack_from("<Q", data, len(data) - 32)[0]


def signed(data: bytes, body: bytes) -> bytes:
    """Return a file with another (deflated) record and its correct checksum."""
    start = _record_of(data)[1]
    footer = struct.pack("<8sIIQQ16s", MAGIC, VERSION, 0, start, len(body), bytes.fromhex(xxh3_checksum(body)))
    return data[:start] + body + footer


def with_record(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a file whose record was changed as JSON, with a correct checksum."""
    plain = json.loads(msgspec.json.encode(_record_of(data)[0]))
    change(plain)
    return signed(data, zlib.compress(json.dumps(plain).encode()))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in JSON; only the first and the last item of long lists."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)) if len(value) <= 3 else (0, len(value) - 1):
            yield from _paths(value[index], (*path, index))


def _at(plain: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        plain = plain[part]
    return plain


def _records(specimen: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield records that contradict the file, with correct checksums."""
    plain = json.loads(msgspec.json.encode(_record_of(specimen.data)[0]))
    for path in _paths(plain):
        value = _at(plain, path)
        for wrong in _wrong_values(value):
            label = f"{'.'.join(map(str, path))} = {_short(wrong)}"
            yield (
                label,
                lambda data, path=path, wrong=wrong: with_record(  # type: ignore[misc]
                    data, lambda plain: _at(plain, path[:-1]).__setitem__(path[-1], wrong)
                ),
            )


def _bombs(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield data that expand far beyond the file size, or are not decodable, with correct checksums."""
    yield "no JSON", lambda data: signed(data, zlib.compress(b"not JSON"))
    yield "not deflated", lambda data: signed(data, b"not deflated")
    yield "cut deflate stream", lambda data: signed(data, zlib.compress(b"[" * 99)[:-3])
    yield "deeply nested", lambda data: signed(data, zlib.compress(b'{"x":' + b"[" * 200_000))
    yield "bomb", lambda data: signed(data, bomb(BOMB_BYTES))
    yield "a header that is a bomb", lambda data: _with_blob(data, bomb(BOMB_BYTES))
    yield "a strip that is a bomb", lambda data: _with_strip(data, bomb(BOMB_BYTES))
    yield "a strip that is an LZW bomb", lambda data: _with_strip(data, lzw_bomb())
    yield "an empty strip", lambda data: _with_strip(data, b"")
    yield "a strip of random bytes", lambda data: _with_strip(data, random.Random(0).randbytes(5000))


def _claims(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield consistent sizes that would make a reader allocate memory, with correct checksums."""
    yield "a header of two gigabytes", lambda data: _with_header(data, bomb(BOMB_BYTES), BOMB_BYTES)
    yield "a header of ten bytes", lambda data: _with_header(data, zlib.compress(bytes(10)), 10)
    yield "trailing bytes of two gigabytes", lambda data: _with_trailing(data, bomb(BOMB_BYTES), BOMB_BYTES)
    for size in (BOMB_BYTES, 2**63 - 1):
        yield f"exceptions of {size} bytes", lambda data, size=size: _with_exceptions(data, bomb(BOMB_BYTES), size)  # type: ignore[misc]
    yield "strips that overlap", lambda data: with_record(data, lambda plain: _overlap(plain, len(data)))


def _hostile_tiffs(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield TIFF movies made to exhaust memory or to be misread."""
    yield "images share their lists of strips", lambda _: hostile.shared_lists()
    yield "directories overlap", lambda _: hostile.overlapping_directories()
    yield "strips overlap", lambda _: hostile.overlapping_strips()
    yield "frames of two gigabytes", lambda _: hostile.large_frames(1 << 15, 1 << 16)
    yield "two billion columns", lambda _: hostile.wide_frames()
    yield "bits are reversed", lambda _: hostile.tagged((266, hostile.SHORT, 1, 2))


def _hostile_eers(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield EER files made to exhaust memory or time."""
    yield "directories overlap", lambda _: hostile.overlapping_directories(200_000)
    yield "frames share their lists of strips", lambda _: hostile.shared_lists(20, compression=65001)


def _short(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (str, list)) else str(value)


def _wrong_values(value: Any) -> list[Any]:
    if isinstance(value, bool) or value is None:
        return [5, {"sum": "x"}]
    if isinstance(value, int):
        return [number for number in (-1, *_NUMBERS, -(2**70), 2**70) if number != value]
    if isinstance(value, str):
        return ["", "\0", value[::-1] + "x", "float32", "lzw", "int16", 7, "x" * 100_000]
    if isinstance(value, list):
        return [[], value[1:], value + value, value[:1] * 100_000, None]
    if isinstance(value, dict):
        return [{}, None]
    return [1e308, -5.0, "x"]


def lzw_bomb() -> bytes:
    """Return an LZW stream whose strings grow as fast as possible, repeatedly."""
    bits = "".join(_lzw_codes(200))
    return int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes((len(bits) + 7) // 8, "big")


def _lzw_codes(tables: int) -> Iterator[str]:
    for _ in range(tables):
        yield format(256, "09b")
        width, free = 9, 258
        yield format(0, "09b")
        while free < 4093:
            yield format(free, f"0{width}b")
            free += 1
            if free + 1 == 1 << width and width < 12:
                width += 1
        yield format(0, f"0{width}b")


def _with_blob(data: bytes, stored: bytes) -> bytes:
    """Return a file whose header blob has other stored bytes."""
    place = _record_of(data)[1]
    moved = data[:place] + stored + signed(data, zlib.compress(b"{}"))[place:]
    body = json.loads(msgspec.json.encode(_record_of(data)[0]))
    body["header"] |= {"offset": place, "stored": len(stored)}
    return _resigned(moved, place + len(stored), body)


def _with_header(data: bytes, stored: bytes, size: int) -> bytes:
    """Return a file with a header of another size."""
    place = _record_of(data)[1]
    body = json.loads(msgspec.json.encode(_record_of(data)[0]))
    body["original"]["bytes"] += size - body["header"]["size"]
    body["header"] = _zeros_blob(place, stored, size)
    return _resigned(data[:place] + stored, place + len(stored), body)


def _with_trailing(data: bytes, stored: bytes, size: int) -> bytes:
    """Return a file with more trailing bytes."""
    place = _record_of(data)[1]
    body = json.loads(msgspec.json.encode(_record_of(data)[0]))
    body["original"]["bytes"] += size
    body["trailing"].append(_zeros_blob(place, stored, size))
    return _resigned(data[:place] + stored, place + len(stored), body)


def _with_exceptions(data: bytes, stored: bytes, size: int) -> bytes:
    """Return a file whose last frame has one exception of many bytes."""
    place = _record_of(data)[1]
    body = json.loads(msgspec.json.encode(_record_of(data)[0]))
    body["frames"][-1]["exceptions"] = {"count": 1, "near": 0, "blob": _zeros_blob(place, stored, size)}
    return _resigned(data[:place] + stored, place + len(stored), body)


def _zeros_blob(place: int, stored: bytes, size: int) -> dict[str, Any]:
    total = RunningChecksum()
    for _ in range(size >> 20 if size <= BOMB_BYTES else 0):
        total.add(np.zeros(1 << 20, np.uint8))
    total.add(np.zeros(size % (1 << 20), np.uint8))
    return {"offset": place, "stored": len(stored), "size": size, "sum": total.result()}


def _overlap(plain: dict[str, Any], size: int) -> None:
    frame = plain["frames"][-1]
    frame["offsets"] = [0] * len(frame["offsets"])
    frame["byte_counts"] = [size] * len(frame["offsets"])


def _with_strip(data: bytes, stored: bytes) -> bytes:
    """Return a file whose last frame has another first strip, with a correct checksum."""
    record, place = _record_of(data)
    body = json.loads(msgspec.json.encode(record))
    body["frames"][-1]["offsets"][0] = place
    body["frames"][-1]["byte_counts"][0] = len(stored)
    body["frames"][-1]["strip_sums"][0] = xxh3_checksum(stored)
    return _resigned(data[:place] + stored, place + len(stored), body)


def _resigned(data: bytes, place: int, plain: dict[str, Any]) -> bytes:
    body = zlib.compress(json.dumps(plain).encode())
    footer = struct.pack("<8sIIQQ16s", MAGIC, VERSION, 0, place, len(body), bytes.fromhex(xxh3_checksum(body)))
    return data[:place] + body + footer


def _footers(_: Specimen) -> Iterator[tuple[str, Change]]:
    for name, back, letter in (("version", 40, "<I"), ("zero", 36, "<I"), ("offset", 32, "<Q"), ("length", 24, "<Q")):
        for value in _NUMBERS:
            if value.bit_length() <= 8 * struct.calcsize(letter):
                yield (
                    f"{name} = {value}",
                    lambda data, back=back, letter=letter, value=value: _patched(  # type: ignore[misc]
                        data, len(data) - back, struct.pack(letter, value)
                    ),
                )


def _mrc_headers(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield changes of each field of an MRC header that readers use."""
    fields = {"nx": 0, "ny": 4, "nz": 8, "mode": 12, "mx": 28, "nsymbt": 92, "machine stamp": 212}
    for order, (name, place) in itertools.product("<>", fields.items()):
        for value in (-(2**31), -1, 0, 1, 2, 3, 6, 12, 101, 1024, 46341, 2**24, 2**31 - 1):
            yield f"{name} = {value} ({order})", _setter(place, order + "i", value)
    for edge in (float("nan"), float("inf"), -1.0, 0.0, 1e-38, 1e-45, 3e38):
        yield f"cell = {edge}", lambda data, edge=edge: _patched(data, 40, struct.pack("<3f", *[edge] * 3))  # type: ignore[misc]
    yield "pixels of NaN", lambda data: data[:1024] + b"\xff" * (len(data) - 1024)
    yield "pixels of nothing", lambda data: data[:1024] + bytes(len(data) - 1024)


def _frame_footers(_: Specimen) -> Iterator[tuple[str, Change]]:
    for value in (-(2**63), -1, 0, 1, 2**31, 2**60, 2**63 - 1):
        yield (
            f"frame of {value} words",
            lambda data, value=value: _patched(data, len(data) - 32, struct.pack("<q", value)),  # type: ignore[misc]
        )
    yield "marked as bad", lambda data: data[:-24] + b"ThermoFisherECComprERR00"
    yield "no footer", lambda data: data[:-24] + bytes(24)
    yield "empty frames", lambda data: data + (bytes(8) + b"ThermoFisherECComprOK000") * 20


def _texts(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield invalid text files, and files with invalid values."""
    nasty = {
        "no text": bytes(range(256)),
        "UTF-16": "movie.mrc".encode("utf-16"),
        "one long line": b"x" * 70_000,
        "a long name": b"x/" * 30_000 + b".mrc",
        "nested": b"a = " + b"[" * 100_000,
        "nested tables": b"a = " + b"{a = " * 50_000,
        "a long number": b"jobs = " + b"9" * 5000,
        "a large number": b"jobs = 999999999999999999999",
        "a negative number": b"jobs = -3",
        "no number": b"jobs = nan",
        "a size of too many digits": b'cache_size = "' + b"9" * 500 + b'"',
        "no date": b"jobs = 1979-13-40",
        "a gain that is nowhere": b'eer_gain = "nowhere.gain"',
        "a gain with a long name": b'eer_gain = "' + b"x" * 500 + b'"',
        "a gain with a zero in its name": b'eer_gain = "a\\u0000b"',
        "unknown": b"speed = 11",
        "two ways": b"eer_grouping = 3\neer_dose_per_fraction = 1.0",
        "twice": b"jobs = 1\njobs = 2",
        "no end": b'eer_dtype = "int16',
        "loop without values": b"data_movies\n\nloop_\n_rlnMicrographMovieName #1\n",
        "loop of odd length": b"data_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\nmovie.mrc\n",
        "unclosed quote": b"data_movies\n\nloop_\n_rlnMicrographMovieName #1\n'movie.mrc\n",
        "unclosed text": b"data_\n_rlnMicrographMovieName\n;movie.mrc\n",
        "upwards": b"../../../../etc/passwd\n/etc/passwd\n..\n.\n/\n",
        "nothing": b"\n\n\n",
    }
    return ((label, lambda _, text=text: text) for label, text in nasty.items())  # type: ignore[misc]


def _removed(_: Specimen) -> Iterator[tuple[str, Change]]:
    yield "gone", lambda _: None


def _flips(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    places = [_anywhere(specimen, rng) for _ in range(rng.choice((1, 1, 1, 2, 8)))]
    bits = [rng.randrange(8) for _ in places]

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for place, bit in zip(places, bits, strict=True):
            changed[place] ^= 1 << bit
        return bytes(changed)

    return f"flips {list(zip(places, bits, strict=True))}", change


def _overwritten(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    start = _anywhere(specimen, rng)
    size = rng.choice((1, 4, 16, 512, 4096))
    filling = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return f"{size} bytes from {start} overwritten", lambda data: _patched(data, start, filling)[: len(data)]


def _shifted(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    start, size = _anywhere(specimen, rng), rng.choice((1, 2, 16, 512))
    if rng.random() < 0.5:
        return f"{size} bytes from {start} missing", lambda data: data[:start] + data[start + size :]
    return f"{size} bytes more at {start}", lambda data: data[:start] + bytes(size) + data[start:]


def _swapped(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    one, other, size = _anywhere(specimen, rng), _anywhere(specimen, rng), rng.choice((8, 64, 512))
    return (
        f"{size} bytes from {one} also at {other}",
        lambda data: _patched(data, other, data[one : one + size])[: len(data)],
    )


def _cut(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    end = _anywhere(specimen, rng)
    return f"cut at {end}", lambda data: data[:end]


def _anywhere(specimen: Specimen, rng: random.Random) -> int:
    """Return a random offset in a file, in half of the cases near its structure."""
    size = len(specimen.data)
    if rng.random() < 0.5:
        return rng.randrange(size)
    return min(max(rng.choice(places_of(specimen)) + rng.randrange(-24, 40), 0), size - 1)


_RANDOM = (_flips, _flips, _flips, _flips, _overwritten, _overwritten, _shifted, _swapped, _cut)

_FAMILIES: dict[Kind, tuple[Callable[[Specimen], Iterator[tuple[str, Change]]], ...]] = {
    "archived": (_truncations, _tags, _records, _bombs, _footers, _claims),
    "adopted": (_truncations, _tags, _records, _bombs, _footers, _claims),
    "gain": (_truncations, _mrc_headers, _removed),
    "eer": (_truncations, _tags, _hostile_eers),
    "footer eer": (_truncations, _frame_footers),
    "eer gain": (_truncations, _tags, _removed),
    "foreign": (_truncations, _tags, _hostile_tiffs),
    "source": (_truncations, _mrc_headers),
    "settings": (_truncations, _texts),
    "list": (_truncations, _texts),
    "state": (_truncations, _texts),
}

__all__ = ["Mutant", "bomb", "lzw_bomb", "mutants", "places_of", "signed", "with_record"]
