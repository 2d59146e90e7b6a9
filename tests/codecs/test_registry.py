"""The registry of codecs: every codec is found by its names and its tags, and what it encodes it decodes."""

from collections import Counter

import numpy as np
import pytest

from cryofs.codecs.codec import Codec, Encoder
from cryofs.codecs.deflate import Deflate
from cryofs.codecs.lzw_codec import Lzw
from cryofs.codecs.packbits import PackBits
from cryofs.codecs.predictor import PREDICTOR_TAGS, Predictor
from cryofs.codecs.registry import (
    CODECS,
    all_encoders,
    codec_named,
    codec_of_tags,
    encoder_of_level,
    encoders_for,
    tags_of,
)
from cryofs.codecs.uncompressed import Uncompressed
from cryofs.codecs.xz import Lzma
from cryofs.codecs.zstd import Zstd
from cryofs.errors import DamagedError

PREDICTORS: tuple[Predictor, ...] = ("none", "horizontal", "float")


def test_names_and_tags_mean_one_codec() -> None:
    assert max(Counter(codec.compression for codec in CODECS).values()) == 1
    assert max(Counter(tag for codec in CODECS for tag in codec.tags).values()) == 1
    assert set(PREDICTORS) == set(PREDICTOR_TAGS)


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_codec_is_found_by_its_names_and_its_tags(kind: type[Codec], predictor: Predictor) -> None:
    codec = kind(predictor)
    assert codec_named(kind.compression, predictor) == codec
    if not kind.has_predictor:
        codec = kind()
    assert codec_of_tags(*tags_of(codec)) == codec
    for tag in kind.tags:
        assert codec_of_tags(tag, PREDICTOR_TAGS[codec.predictor]) == codec


# as TIFF 6.0, its supplements and libtiff have them
@pytest.mark.parametrize(
    ("tags", "codec"),
    [
        ((1, 1), Uncompressed()),
        ((1, 3), Uncompressed()),
        ((5, 1), Lzw()),
        ((5, 2), Lzw("horizontal")),
        ((8, 3), Deflate("float")),
        ((32946, 1), Deflate()),
        ((7, 1), None),
        ((5, 4), None),
        ((50000, 2), Zstd("horizontal")),
        ((34925, 1), Lzma()),
        ((32773, 2), PackBits()),
        ((34887, 1), None),
    ],
)
def test_tags_of_tiff(tags: tuple[int, int], codec: Codec | None) -> None:
    assert codec_of_tags(*tags) == codec


def test_codecs_with_different_predictors_are_different() -> None:
    assert Deflate() != Deflate("float")


def test_encoders_are_tried_from_the_fastest_on() -> None:
    for dtype in ("u1", "i2", "f4"):
        encoders = encoders_for(np.dtype(dtype))
        assert encoders == sorted(encoders, key=lambda encoder: encoder.cost)
        assert {encoder.codec.compression for encoder in encoders} == {"none", "lzw", "deflate"}


@pytest.mark.parametrize("encoder", [*all_encoders(), encoder_of_level(9)], ids=lambda encoder: f"{encoder.name}")
def test_several_strips_are_decoded_together_or_refused_together(encoder: Encoder) -> None:
    dtype = {"bytes": "u1", "wide": "i2", "float": "f4", "any": "u2"}[encoder.pixels]
    strips = [np.random.default_rng(number).poisson(1.0, (9, 50 + number)).astype(dtype) for number in range(3)]
    streams = [encoder.encode(strip) for strip in strips]
    outs = [np.empty_like(strip) for strip in strips]
    encoder.codec.decode(streams, outs)
    assert [out.tobytes() for out in outs] == [strip.tobytes() for strip in strips]
    with pytest.raises(DamagedError):
        encoder.codec.decode([streams[0], streams[1][: len(streams[1]) // 2]], outs[:2])
