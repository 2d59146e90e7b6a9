"""Packed files as the programs write them: one stream or several, in one block or many, and with padding."""

import bz2
import gzip
import io
import lzma
import random
import struct
import sys
import zlib
from collections.abc import Callable

import xz

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Pack = Callable[[bytes], bytes]

SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"notes"


def in_parts(pack: Pack, size: int) -> Pack:
    """Return a function that packs parts of this size, one after the other, as pbzip2, pigz -i and pzstd do."""
    return lambda data: b"".join(pack(data[at : at + size]) for at in range(0, max(1, len(data)), size))


def gzip_of_many_blocks(data: bytes) -> bytes:
    """Pack into a member of blocks of all kinds, which end at any bit."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    parts = [packer.compress(data[at : at + 50_000]) + packer.flush(zlib.Z_BLOCK) for at in range(0, len(data), 50_000)]
    return b"".join(parts) + packer.flush()


def piped_zstd(data: bytes) -> bytes:
    """Pack without a stated size, as zstd does when it reads from a pipe."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.content_size_flag: 0})
    return packer.compress(data) + packer.flush()


def zstd_with_sum(data: bytes) -> bytes:
    """Pack with a checksum, as the program does."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def xz_blocks(data: bytes, size: int = 3 << 18) -> bytes:
    """Pack into one stream of several blocks, as xz -T2 does."""
    if not data:
        return lzma.compress(data)
    file = io.BytesIO()
    with xz.XZFile(file, "w") as packed:
        for at in range(0, len(data), size):
            packed.write(data[at : at + size])
            packed.change_block()
    return file.getvalue()


WAYS: dict[str, tuple[str, Pack]] = {
    "bzip2": (".bz2", bz2.compress),
    "bzip2 -1": (".bz2", lambda data: bz2.compress(data, 1)),
    "pbzip2": (".bz2", in_parts(lambda data: bz2.compress(data, 2), 500_000)),
    "bzip2 with empty streams": (".bz2", lambda data: bz2.compress(b"") + bz2.compress(data) + bz2.compress(b"")),
    "bzip2 on tape": (".bz2", lambda data: bz2.compress(data) + bytes(1000)),
    "gzip": (".gz", gzip.compress),
    "gzip stored": (".gz", lambda data: gzip.compress(data, 0)),
    "pigz -i": (".gz", in_parts(gzip.compress, 400_000)),
    "gzip of an empty file, then another": (".gz", lambda data: gzip.compress(b"") + gzip.compress(data)),
    "gzip of blocks of any number of bits": (".gz", gzip_of_many_blocks),
    "gzip on tape": (".gz", lambda data: gzip.compress(data) + bytes(1000)),
    "xz": (".xz", lzma.compress),
    "xz without checksum": (".xz", lambda data: lzma.compress(data, check=lzma.CHECK_NONE)),
    "xz -T2": (".xz", xz_blocks),
    "xz streams": (".xz", lambda data: in_parts(lzma.compress, 700_000)(data) + bytes(8)),
    "zstd": (".zst", zstd_with_sum),
    "zstd from a pipe": (".zst", piped_zstd),
    "pzstd": (".zst", lambda data: SKIPPABLE + in_parts(zstd_with_sum, 600_000)(data) + SKIPPABLE),
    "small zstd frames": (".zst", in_parts(zstd.compress, 20_000)),
}


IN_PARTS = ("pzstd", "small zstd frames")
# Ways that let damage pass, as the programs do: zstd adds a checksum unless it is called as a library.
WITHOUT_SUM = ("xz without checksum", "zstd from a pipe", "small zstd frames")


def sample(size: int, seed: int = 1) -> bytes:
    """Return bytes of several kinds: counts, noise, which packing does not shrink, and zeros."""
    rng = random.Random(seed)
    parts = [
        rng.randbytes(size // 3),
        bytes(size // 3),
        bytes(rng.choices(range(4), k=size - 2 * (size // 3))),
    ]
    return b"".join(parts)
