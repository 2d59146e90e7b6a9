"""Damage of the record and the blobs of archived movies."""

import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from cryofs.formats.record import MAGIC, VERSION, Record, read_record
from cryofs.storage.checksums import RunningChecksum, xxh3_checksum
from tests.conftest import open_bytes
from tests.corpus.changes import NUMBERS, Change, patched
from tests.corpus.specimen import Specimen
from tests.hostile import bomb

BOMB_BYTES = 1 << 31


def record_of(data: bytes) -> tuple[Record, int]:
    with open_bytes(data, "specimen") as source:
        record = read_record(source)
    return record, struct.unpack_from("<Q", data, len(data) - 32)[0]


def signed(data: bytes, body: bytes) -> bytes:
    """Return a file with another (deflated) record and its correct checksum."""
    start = record_of(data)[1]
    footer = struct.pack("<8sIIQQ16s", MAGIC, VERSION, 0, start, len(body), bytes.fromhex(xxh3_checksum(body)))
    return data[:start] + body + footer


def with_record(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a file whose record was changed as JSON, with a correct checksum."""
    plain = json.loads(msgspec.json.encode(record_of(data)[0]))
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


def records(specimen: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield records that contradict the file, with correct checksums."""
    plain = json.loads(msgspec.json.encode(record_of(specimen.data)[0]))
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


def bombs(_: Specimen) -> Iterator[tuple[str, Change]]:
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


def claims(_: Specimen) -> Iterator[tuple[str, Change]]:
    """Yield consistent sizes that would make a reader allocate memory, with correct checksums."""
    yield "a header of two gigabytes", lambda data: _with_header(data, bomb(BOMB_BYTES), BOMB_BYTES)
    yield "a header of ten bytes", lambda data: _with_header(data, zlib.compress(bytes(10)), 10)
    yield "trailing bytes of two gigabytes", lambda data: _with_trailing(data, bomb(BOMB_BYTES), BOMB_BYTES)
    for size in (BOMB_BYTES, 2**63 - 1):
        yield f"exceptions of {size} bytes", lambda data, size=size: _with_exceptions(data, bomb(BOMB_BYTES), size)  # type: ignore[misc]
    yield "strips that overlap", lambda data: with_record(data, lambda plain: _overlap(plain, len(data)))


def _short(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (str, list)) else str(value)


def _wrong_values(value: Any) -> list[Any]:
    if isinstance(value, bool) or value is None:
        return [5, {"sum": "x"}]
    if isinstance(value, int):
        return [number for number in (-1, *NUMBERS, -(2**70), 2**70) if number != value]
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
    place = record_of(data)[1]
    moved = data[:place] + stored + signed(data, zlib.compress(b"{}"))[place:]
    body = json.loads(msgspec.json.encode(record_of(data)[0]))
    body["header"] |= {"offset": place, "stored": len(stored)}
    return _resigned(moved, place + len(stored), body)


def _with_header(data: bytes, stored: bytes, size: int) -> bytes:
    """Return a file with a header of another size."""
    place = record_of(data)[1]
    body = json.loads(msgspec.json.encode(record_of(data)[0]))
    body["original"]["bytes"] += size - body["header"]["size"]
    body["header"] = _zeros_blob(place, stored, size)
    return _resigned(data[:place] + stored, place + len(stored), body)


def _with_trailing(data: bytes, stored: bytes, size: int) -> bytes:
    """Return a file with more trailing bytes."""
    place = record_of(data)[1]
    body = json.loads(msgspec.json.encode(record_of(data)[0]))
    body["original"]["bytes"] += size
    body["trailing"].append(_zeros_blob(place, stored, size))
    return _resigned(data[:place] + stored, place + len(stored), body)


def _with_exceptions(data: bytes, stored: bytes, size: int) -> bytes:
    """Return a file whose last frame has one exception of many bytes."""
    place = record_of(data)[1]
    body = json.loads(msgspec.json.encode(record_of(data)[0]))
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
    record, place = record_of(data)
    body = json.loads(msgspec.json.encode(record))
    body["frames"][-1]["offsets"][0] = place
    body["frames"][-1]["byte_counts"][0] = len(stored)
    body["frames"][-1]["strip_sums"][0] = xxh3_checksum(stored)
    return _resigned(data[:place] + stored, place + len(stored), body)


def _resigned(data: bytes, place: int, plain: dict[str, Any]) -> bytes:
    body = zlib.compress(json.dumps(plain).encode())
    footer = struct.pack("<8sIIQQ16s", MAGIC, VERSION, 0, place, len(body), bytes.fromhex(xxh3_checksum(body)))
    return data[:place] + body + footer


def footers(_: Specimen) -> Iterator[tuple[str, Change]]:
    for name, back, letter in (("version", 40, "<I"), ("zero", 36, "<I"), ("offset", 32, "<Q"), ("length", 24, "<Q")):
        for value in NUMBERS:
            if value.bit_length() <= 8 * struct.calcsize(letter):
                yield (
                    f"{name} = {value}",
                    lambda data, back=back, letter=letter, value=value: patched(  # type: ignore[misc]
                        data, len(data) - back, struct.pack(letter, value)
                    ),
                )
