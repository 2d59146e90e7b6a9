"""The registry of codecs: a codec that is added by one object stores movies, and every reader reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import cryofs
from benchmarks.simulate import header
from cryofs.archive.info import describe
from cryofs.codecs import registry
from cryofs.codecs.codec import Codec, Encoder
from cryofs.codecs.uncompressed import copy_bytes
from cryofs.errors import DamagedError
from cryofs.formats.tiff_movie import read_index
from cryofs.storage.byte_source import LocalFile
from tests.support import archive, assert_verified, restored
from tests.vfs.serving import content, serving

# All bytes are equally frequent, so no other encoder makes them smaller.
FRAMES = np.random.default_rng(0).integers(-128, 128, (3, 300, 64), dtype=np.int8)
# PNG, because tifffile, which writes the pages, accepts only compressions that it can encode itself.
TAG = 34933


@dataclass(frozen=True)
class Inverted(Codec):
    """Each byte with all its bits inverted."""

    compression: ClassVar[str] = "inverted"
    tags: ClassVar[tuple[int, ...]] = (TAG,)
    most_expansion: ClassVar[int] = 1
    compiled: ClassVar[Literal["no", "faster", "always"]] = "no"

    @classmethod
    def encoders(cls) -> Sequence[Encoder]:
        return (Encoder("inverted", cls(), encode, "any", cost=0),)

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        for stream, flat in zip(streams, flats, strict=True):
            copy_bytes(stream, flat)
            np.invert(flat, out=flat)


def encode(strip: NDArray[Any]) -> bytes:
    return np.invert(strip.reshape(-1).view(np.uint8)).tobytes()


@pytest.fixture(name="original")
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "session" / "x.mrc"
    path.parent.mkdir()
    path.write_bytes(header(FRAMES.shape, 0) + FRAMES.tobytes())
    return path


def test_a_codec_stores_a_movie_that_every_reader_reads(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CODECS", (*registry.CODECS, Inverted))
    folder = tmp_path / "archive"
    _, reported = archive(original.parent, folder)
    assert not reported.errors
    stored = folder / "x.mrc.tif"
    assert describe(stored)["compression"] == "inverted"
    with LocalFile.open(stored) as source:
        assert read_index(source).layout.codec == Inverted()
    assert encode(FRAMES[0, :-257:-1]) in stored.read_bytes()
    with cryofs.open(stored) as shown:
        assert np.array_equal(np.stack(list(shown.frames())), FRAMES)
    with serving(folder) as files:
        assert content(files, "/x.mrc") == original.read_bytes()
    assert_verified(folder, 1)
    assert (restored(folder, tmp_path / "restored") / "x.mrc").read_bytes() == original.read_bytes()


def test_without_the_codec_its_movies_are_refused(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "archive"
    with monkeypatch.context() as patch:
        patch.setattr(registry, "CODECS", (*registry.CODECS, Inverted))
        archive(original.parent, folder)
    expected = r"x\.mrc\.tif: unsupported compression in the record \(expected none, lzw, deflate, got 'inverted'\)"
    with pytest.raises(DamagedError, match=expected):
        cryofs.open(folder / "x.mrc.tif")
