"""Select the encoders that a plan compares on samples of a movie."""

from typing import Any

import numpy as np

from cryofs.codecs.codec import Encoder
from cryofs.codecs.registry import encoder_of_level, encoders_for
from cryofs.config.choices import CompressionChoice


def candidates(dtype: np.dtype[Any], choice: CompressionChoice, deflate_level: int | None) -> list[Encoder]:
    """Return the encoders that the options allow for a pixel type, fastest first."""
    if deflate_level is not None:
        return [encoder_of_level(deflate_level)]
    # storing uncompressed is never the smallest choice, so it is used by request only
    return [
        encoder
        for encoder in encoders_for(dtype)
        if encoder.codec.compression == choice or (choice == "auto" and encoder.codec.compression != "none")
    ]
