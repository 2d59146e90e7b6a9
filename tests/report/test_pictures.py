"""Pictures inside a page show the values that they say are black and white."""

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cryofs.report.pictures import Picture, draw

MARK = [255, 96, 0]


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """What is seen, first row of the image first."""
    data = base64.b64decode(picture.url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[::-1]


@pytest.mark.parametrize("side", [300, 60])
def test_greys_are_the_values_between_black_and_white(side: int) -> None:
    rows = np.linspace(0.8, 1.2, 300, dtype=np.float32)
    image = np.tile(rows[:, np.newaxis], (1, 300))
    marks = np.zeros(image.shape, bool)
    marks[150, 150] = True
    picture = draw(image, side, marks)
    step = 300 // side
    assert picture.step == step
    seen = pixels(picture)
    assert seen.shape == (side, side, 3)
    means = rows.reshape(side, step).mean(1)
    wanted = np.clip((means - picture.low) / (picture.high - picture.low), 0, 1) * 255
    assert np.abs(seen[:, 0, 0] - wanted).max() <= 1
    assert (seen[0, 0].max(), seen[-1, 0].min()) == (0, 255)


def test_marks_are_larger_than_they_are_and_change_no_grey() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(1, 0.05, (400, 320)).astype(np.float32)
    plain = draw(image, 40, np.zeros(image.shape, bool))
    marks = np.zeros(image.shape, bool)
    # a defect of a value far off
    image[200, 160], marks[200, 160] = 0, True
    picture = draw(image, 40, marks)
    seen = pixels(picture)
    found = (seen == MARK).all(2)
    assert found.sum() == 9
    assert found[19:22, 15:18].all()
    assert (picture.low, picture.high) == pytest.approx((plain.low, plain.high), rel=0.02)
    greys = seen[~found]
    assert greys.min() == 0
    assert greys.max() == 255


def test_an_image_of_marks_alone() -> None:
    picture = draw(np.ones((4, 5), np.float32), 10, np.ones((4, 5), bool))
    assert (pixels(picture) == MARK).all()
