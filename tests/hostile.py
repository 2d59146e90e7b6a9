"""TIFF files that are made to take memory or time, or to be misread: small, and each a file that a reader may meet."""

import lzma
import struct
import zlib
from collections.abc import Iterable

# type of a tag: whole numbers of 16 and 32 bits
SHORT, LONG = 3, 4
ENTRIES = 4096
_HEAD_BYTES = 8

Tag = tuple[int, int, int, int]


def image_tags(ny: int, nx: int, strip: tuple[int, int], *, compression: int = 1, bits: int = 8) -> list[Tag]:
    """Tags of an image in one strip, of place and size."""
    return [
        (256, LONG, 1, nx),
        (257, LONG, 1, ny),
        (258, SHORT, 1, bits),
        (259, SHORT, 1, compression),
        (273, LONG, 1, strip[0]),
        (278, LONG, 1, ny),
        (279, LONG, 1, strip[1]),
    ]


def directories_bytes(images: int, tags: int) -> int:
    """Bytes of the head of a classic TIFF and so many directories, one behind another."""
    return _HEAD_BYTES + images * (2 + 12 * tags + 4)


def tiff(images: int, tags: Iterable[Tag], behind: bytes) -> bytes:
    """Classic TIFF whose images all have the same tags; `behind` follows the directories."""
    entries = sorted(tags)
    pieces = [b"II*\0" + struct.pack("<I", _HEAD_BYTES)]
    for number in range(1, images + 1):
        link = directories_bytes(number, len(entries)) if number < images else 0
        packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        pieces.append(struct.pack("<H", len(entries)) + packed + struct.pack("<I", link))
    return b"".join(pieces) + behind


def shared_lists(images: int = 200, strips: int = 1 << 16, compression: int = 5) -> bytes:
    """Images of many strips, all of which share the lists of these."""
    place = directories_bytes(images, 7)
    tags = [tag for tag in image_tags(strips, 1, (0, 0), compression=compression) if tag[0] not in (273, 278, 279)]
    tags += [(273, LONG, strips, place), (278, LONG, 1, 1), (279, LONG, strips, place + 4 * strips)]
    return tiff(images, tags, struct.pack("<I", 1000) * strips + struct.pack("<I", 2) * strips)


def overlapping_directories(count: int = 400) -> bytes:
    """Directories of many entries, each of which begins twelve bytes behind the one before."""
    units = bytearray()
    for number in range(count + ENTRIES):
        # the place of the next directory stands right behind the entries
        directory = number - ENTRIES
        link = 10 + 12 * (directory + 1) - 2 if 0 <= directory < count - 1 else 0
        units += struct.pack("<IIHH", link, 0, 0, ENTRIES)
    return b"II*\0" + struct.pack("<IH", _HEAD_BYTES, ENTRIES) + units


def bomb(size: int) -> bytes:
    """A zlib stream of so many zeros, made of one block over and over."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    # of zeros, Adler's first sum stays 1 and the second counts them
    adler = size % 65521 << 16 | 1
    return b"\x78\x9c" + block * (size >> 20) + b"\x03\0" + adler.to_bytes(4, "big")


def large_frames(ny: int, nx: int) -> bytes:
    """Two images that share a deflated strip of zeros."""
    stream = bomb(ny * nx)
    place = directories_bytes(2, 7)
    return tiff(2, image_tags(ny, nx, (place, len(stream)), compression=8), stream)


def wide_frames() -> bytes:
    """Two images with more columns than the header of an MRC file can hold."""
    size = 1 << 21
    return tiff(2, image_tags(1, 1 << 31, (directories_bytes(2, 7), size), compression=5), bytes(size))


def large_tile(side: int = 1 << 14, height: int = 1 << 14) -> bytes:
    """Two images of a few pixels, in a tile of zeros that is much larger."""
    stream = bomb(side * height)
    place = directories_bytes(2, 8)
    tags = [tag for tag in image_tags(8, 8, (0, 0), compression=8) if tag[0] not in (273, 278, 279)]
    tags += [(322, LONG, 1, side), (323, LONG, 1, height), (324, LONG, 1, place), (325, LONG, 1, len(stream))]
    return tiff(2, tags, stream)


def large_dictionary(side: int = 64) -> bytes:
    """Two images of an xz stream whose dictionary takes four gigabytes."""
    stream = bytearray(lzma.compress(bytes(side * side), check=lzma.CHECK_NONE))
    # the size of the dictionary, and the checksum of the block header behind it
    header = 12
    stream[header + 4] = 40
    stream[header + 8 : header + 12] = struct.pack("<I", zlib.crc32(stream[header : header + 8]))
    place = directories_bytes(2, 7)
    return tiff(2, image_tags(side, side, (place, len(stream)), compression=34925), bytes(stream))


def tagged(*more: Tag, side: int = 8) -> bytes:
    """Two images of one byte a pixel, in order, with more tags."""
    place = directories_bytes(2, 7 + len(more))
    return tiff(2, [*image_tags(side, side, (place, side * side)), *more], bytes(range(side * side)))


def overlapping_strips(strips: int = 64, side: int = 64) -> bytes:
    """Two images of strips that are all the same bytes, which are most of the file."""
    place = directories_bytes(2, 7)
    data = bytes(4 * side * side)
    tags = [tag for tag in image_tags(side, side, (0, 0), compression=5) if tag[0] not in (273, 278, 279)]
    tags += [(273, LONG, strips, place), (278, LONG, 1, side // strips), (279, LONG, strips, place + 4 * strips)]
    lists = struct.pack("<I", place + 8 * strips) * strips + struct.pack("<I", len(data)) * strips
    return tiff(2, tags, lists + data)
