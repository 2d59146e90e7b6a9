"""Damaged copies of specimens, reproducible by a seed: first systematic damage, then random damage."""

import itertools
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.corpus.changes import FOOTER_BYTES, Change, patched, set_field
from tests.corpus.record_mutants import bombs, claims, footers, record_of, records
from tests.corpus.specimen import Kind, Specimen
from tests.corpus.tiff_mutants import hostile_eers, hostile_tiffs, tags
from tests.corpus.walker import NoTiffError, directories

# largest share of systematic mutants; the others are random
_SYSTEMATIC_SHARE = 0.7


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
    ideas = itertools.islice(_taking_turns(specimens, rng), int(count * _SYSTEMATIC_SHARE) + 1)
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
    if specimen.kind in ("source", "gain", "normalised gain"):
        found |= {92, 212, 1023, 1024, 1024 + 128}
    try:
        for directory in directories(data):
            found |= {directory.place, directory.place + 2, directory.link, directory.link + 4, directory.link + 8}
            found |= {place for offset, size in directory.strips for place in (offset, offset + size)}
    except NoTiffError:
        pass
    if specimen.kind in ("archived", "adopted", "normalised"):
        record, start = record_of(data)
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


def _mrc_headers(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield changes of each field of an MRC header that readers use."""
    fields = {"nx": 0, "ny": 4, "nz": 8, "mode": 12, "mx": 28, "nsymbt": 92, "machine stamp": 212}
    for order, (name, place) in itertools.product("<>", fields.items()):
        for value in (-(2**31), -1, 0, 1, 2, 3, 6, 12, 101, 1024, 46341, 2**24, 2**31 - 1):
            yield f"{name} = {value} ({order})", set_field(place, order + "i", value)
    for edge in (float("nan"), float("inf"), -1.0, 0.0, 1e-38, 1e-45, 3e38):
        yield f"cell = {edge}", lambda data, edge=edge: patched(data, 40, struct.pack("<3f", *[edge] * 3))  # type: ignore[misc]
    yield "pixels of NaN", lambda data: data[:1024] + b"\xff" * (len(data) - 1024)
    yield "pixels of nothing", lambda data: data[:1024] + bytes(len(data) - 1024)


def _frame_footers(_: Specimen) -> Iterator[tuple[str, Change]]:
    for value in (-(2**63), -1, 0, 1, 2**31, 2**60, 2**63 - 1):
        yield (
            f"frame of {value} words",
            lambda data, value=value: patched(data, len(data) - 32, struct.pack("<q", value)),  # type: ignore[misc]
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


def _packed_parts(specimen: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield changes of each byte of the first and last parts, which hold sizes and checksums, and other contents."""
    size = len(specimen.data)
    for place in (*range(20), *range(size - 20, size)):
        yield f"byte {place}", lambda data, place=place: patched(data, place, bytes([data[place] ^ 0x41]))  # type: ignore[misc]
    yield "zeros behind", lambda data: data + bytes(5000)
    yield "text behind", lambda data: data + b"text" * 100
    yield "text", lambda _: b"text" * 1000
    yield "nothing", lambda _: b""


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
    return f"{size} bytes from {start} overwritten", lambda data: patched(data, start, filling)[: len(data)]


def _shifted(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    start, size = _anywhere(specimen, rng), rng.choice((1, 2, 16, 512))
    if rng.random() < 0.5:
        return f"{size} bytes from {start} missing", lambda data: data[:start] + data[start + size :]
    return f"{size} bytes more at {start}", lambda data: data[:start] + bytes(size) + data[start:]


def _swapped(specimen: Specimen, rng: random.Random) -> tuple[str, Change]:
    one, other, size = _anywhere(specimen, rng), _anywhere(specimen, rng), rng.choice((8, 64, 512))
    return (
        f"{size} bytes from {one} also at {other}",
        lambda data: patched(data, other, data[one : one + size])[: len(data)],
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
    "archived": (_truncations, tags, records, bombs, footers, claims),
    "adopted": (_truncations, tags, records, bombs, footers, claims),
    "gain": (_truncations, _mrc_headers, _removed),
    "eer": (_truncations, tags, hostile_eers),
    "footer eer": (_truncations, _frame_footers),
    "eer gain": (_truncations, tags, _removed),
    "foreign": (_truncations, tags, hostile_tiffs),
    "normalised": (_truncations, tags, records, footers),
    "normalised gain": (_truncations, _mrc_headers, _removed),
    "packed": (_truncations, _packed_parts),
    "source": (_truncations, _mrc_headers),
    "settings": (_truncations, _texts),
    "list": (_truncations, _texts),
    "state": (_truncations, _texts),
}
