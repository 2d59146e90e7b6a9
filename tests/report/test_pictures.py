"""Pictures in a page: the limits of black and white, and marked pixels."""

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cryofs.report.pictures import Picture, draw

MARK = [255, 96, 0]


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """Decode a picture; row 0 is row 0 of the image."""
    data = base64.b64decode(picture.url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[::-1]


@pytest.mark.parametrize("side", [300, 60])
def test_grey_levels(side: int) -> None:
    rows = np.linspace(0.8, 1.2, 300, dtype=np.float32)
    image = np.tile(rows[:, np.newaxis], (1, 300))
    marks = np.zeros(image.shape, bool)
    marks[150, 150] = True
    picture = draw(image, side, marks)
    step = 300 // side
    assert picture.step == step
    drawn = pixels(picture)
    assert drawn.shape == (side, side, 3)
    means = rows.reshape(side, step).mean(1)
    expected = np.clip((means - picture.low) / (picture.high - picture.low), 0, 1) * 255
    assert np.abs(drawn[:, 0, 0] - expected).max() <= 1
    assert (drawn[0, 0].max(), drawn[-1, 0].min()) == (0, 255)


def test_marks_are_enlarged_and_do_not_change_grey_levels() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(1, 0.05, (400, 320)).astype(np.float32)
    plain = draw(image, 40, np.zeros(image.shape, bool))
    marks = np.zeros(image.shape, bool)
    # a defect with an extreme value
    image[200, 160], marks[200, 160] = 0, True
    picture = draw(image, 40, marks)
    drawn = pixels(picture)
    found = (drawn == MARK).all(2)
    assert found.sum() == 9
    assert found[19:22, 15:18].all()
    assert (picture.low, picture.high) == pytest.approx((plain.low, plain.high), rel=0.02)
    greys = drawn[~found]
    assert greys.min() == 0
    assert greys.max() == 255


def test_image_with_all_pixels_marked() -> None:
    picture = draw(np.ones((4, 5), np.float32), 10, np.ones((4, 5), bool))
    assert (pixels(picture) == MARK).all()
