"""What is compared of the data and of what is asked; and what is said where there is nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from workflow.errors import CommandError
from workflow.monitoring import features
from workflow.paths import PREPARED_DATA
from workflow.serving import input_log as log
from workflow.serving import model


@pytest.fixture
def loaded(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> model.Model:
    """The exported model, in the folder with its data; its log is empty."""
    monkeypatch.setenv("SERVING_LOG_FOLDER", str(tmp_path))
    monkeypatch.chdir(exported)
    return model.load("digits", Path("model.onnx"))


@pytest.fixture
def keep(loaded: model.Model) -> Callable[..., None]:
    """Writes a file of the log: so many images, each with this value."""

    def keep(count: int, value: int = 1, version: str | None = None) -> None:
        images = np.full((count, 8, 8), value, np.uint8)
        entry = log.Entry(
            value * 10**6, None, {"images": images}, loaded.predict({"images": images})
        )
        log.Files(replace(loaded, version=version or loaded.version), 10**9).write([entry])

    return keep


def test_figures_are_those_that_can_be_counted_by_hand() -> None:
    images = np.zeros((3, 4, 5), np.uint8)
    images[1] = 16
    images[2, 3, 0] = 16
    figures = features.of_images(images, 16)
    empty, full, corner = ({name: figures[name][i] for name in figures} for i in range(3))
    assert empty["brightness"] == empty["ink"] == empty["roughness"] == 0
    assert full["brightness"] == full["ink"] == 1
    assert full["contrast"] == full["roughness"] == 0
    assert full["centre row"] == pytest.approx(0.5)
    assert full["centre column"] == pytest.approx(0.5)
    assert corner["brightness"] == corner["ink"] == pytest.approx(1 / 20)
    assert (corner["centre row"], corner["centre column"]) == (1, 0)
    assert corner["roughness"] == pytest.approx((1 / 15 + 1 / 16) / 2)


def test_the_reference_is_the_data_that_the_model_was_trained_on(
    loaded: model.Model, keep: Callable[..., None]
) -> None:
    keep(features.MIN_SAMPLES)
    collected = features.collect(loaded)
    reference, current = collected["reference"], collected["current"]
    assert reference.keys() == current.keys()
    train, test = (np.load(PREPARED_DATA / f"{s}_images.npy") for s in ("train", "test"))
    np.testing.assert_allclose(reference["brightness"], train.mean(axis=(1, 2)) / 16)
    answers = loaded.predict({"images": test})
    np.testing.assert_allclose(reference["confidence"], answers.max(axis=1))
    assert reference["predicted class"] == list(map(str, answers.argmax(axis=1)))
    assert current["brightness"] == pytest.approx([1 / 16] * features.MIN_SAMPLES)
    assert (collected["from"], collected["to"]) == ("1970-01-01T00:00:01+00:00",) * 2


def test_the_newest_of_this_version_are_compared(
    loaded: model.Model, keep: Callable[..., None]
) -> None:
    keep(features.MAX_SAMPLES, value=1)
    keep(features.MAX_SAMPLES // 2, value=2)
    keep(features.MAX_SAMPLES, value=3, version="another")
    keep(features.MAX_SAMPLES // 2, value=4)
    collected = features.collect(loaded)
    half = [2 / 16] * (features.MAX_SAMPLES // 2) + [4 / 16] * (features.MAX_SAMPLES // 2)
    assert collected["current"]["brightness"] == pytest.approx(half)
    assert collected["version"] == loaded.version


def test_what_is_missing_is_one_line_that_says_how_to_get_it(
    loaded: model.Model, keep: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(reason: str) -> None:
        with pytest.raises(CommandError, match=reason) as raised:
            features.collect(loaded)
        assert "\n" not in str(raised.value)

    refused("digits: no request was logged: serve with SERVING_LOG_EVERY=1")
    keep(features.MIN_SAMPLES, version="another")
    refused(f"of version another, not of {loaded.version}: name the file")
    keep(features.MIN_SAMPLES - 1)
    found, needed = features.MIN_SAMPLES - 1, features.MIN_SAMPLES
    refused(f"{found} samples of version {loaded.version} are logged, {needed} are needed")
    keep(1)
    narrow = tmp_path / "narrow"
    monkeypatch.chdir(tmp_path)
    refused("data/prepared: no prepared data for `images`: inv data.pull or inv train")
    (narrow / PREPARED_DATA).mkdir(parents=True)
    for split in ("train", "test"):
        np.save(narrow / PREPARED_DATA / f"{split}_images.npy", np.zeros((9, 4, 4), np.uint8))
        np.save(narrow / PREPARED_DATA / f"{split}_target.npy", np.zeros(9, np.int64))
    monkeypatch.chdir(narrow)
    refused(r"`images` is uint8 \[4, 4\], but the model takes UINT8 \[8, 8\]: inv train")
    for split in ("train", "test"):
        np.save(narrow / PREPARED_DATA / f"{split}_images.npy", np.zeros((9, 8, 8), np.uint16))
    refused(r"`images` is uint16 \[8, 8\], but the model takes UINT8 \[8, 8\]: inv train")
