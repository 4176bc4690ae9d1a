"""What earlier versions left behind is read, or refused by a line that names a version that can.

tests/data/yesterday/ has the files of projects that were made and trained then: ../yesterday.py.
"""

import json
import shutil
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from workflow import checkpoint_file, formats, signature
from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.formats import LaterFormatError
from workflow.lightning import start
from workflow.onnx_file import read_metadata
from workflow.paths import CONF, ROOT
from workflow.runs import finding
from workflow.runs.lineage import subjects
from workflow.serving.model import load
from workflow.tracking import provenance
from workflow.tracking.transaction_log import run_id

DATA = Path(__file__).parents[1] / "data" / "yesterday"
VERSIONS = sorted(path.name for path in DATA.iterdir())
SAME_NETWORK = ("model=mlp", "model.hidden=[8]", "trainer.max_epochs=1")
LATER = {"format": 9, "version": "9.0.0"}


def run_folder(version: str) -> Path:
    (folder,) = (DATA / version).glob("*run-*")
    return folder


@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_is_served_with_all_that_its_signature_says_today(version: str) -> None:
    model = load("old", DATA / version / "model.onnx")
    (image,), (classes,) = model.signature["inputs"], model.signature["outputs"]
    assert (image["kind"], image["max_value"], image["shape"]) == ("image", 16, [-1, 8, 8])
    assert (classes["kind"], classes["names"]) == ("classes", list("0123456789"))
    assert model.run == run_id([run_folder(version)])
    assert len(model.samples) == (0 if version == "first" else 20)
    for sample in model.samples:
        inputs = signature.encode(image, [sample["inputs"][image["name"]]])
        assert model.predict({image["name"]: inputs}).shape == (1, 10)
        assert sample["actual"] in classes["names"]
    assert read_metadata(DATA / version / "model.onnx")["signature"] == model.signature


@pytest.mark.parametrize("version", VERSIONS)
def test_files_and_the_record_of_a_run_say_where_they_come_from(version: str) -> None:
    recorded = finding.offline([run_folder(version)])
    assert recorded.config
    assert recorded.config["trainer"]["max_epochs"] == 1
    assert sorted(recorded.data) == ["data/prepared", "data/raw"]
    assert {"val/loss", "val/accuracy", "epochs"} <= recorded.metrics.keys()
    for name in ("model.onnx", "model.ckpt"):
        origin = subjects.file(DATA / version / name).provenance
        assert (origin.git.commit, origin.run and origin.run.id) == (recorded.commit, recorded.name)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_training_starts_from_a_checkpoint_or_says_whose_code_can(version: str) -> None:
    path = DATA / version / "model.ckpt"

    def begin(key: str) -> start.start.Start | None:
        return start.load_start(plain(compose([*SAME_NETWORK, f"{key}={path}"], ROOT / CONF)))

    if version not in ("first", "0.2.0"):
        started = begin("train.init_from")
        assert started
        assert started.checkpoint.content.shapes["layers.0.weight"] == (8, 64)
        return
    run = run_id([run_folder(version)])
    advice = f"; a version before 2.0.0 trained it, whose code can: inv restore {run}"
    for key in ("train.init_from", "train.resume"):
        with pytest.raises(ConfigError) as raised:
            begin(key)
        assert str(raised.value).endswith(advice)


def test_what_a_later_version_wrote_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = DATA / VERSIONS[-1 if VERSIONS[-1] != "first" else -2]
    proto = onnx.load(newest / "model.onnx")
    metadata = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    metadata["signature"] |= LATER
    onnx.helper.set_model_props(proto, {key: json.dumps(v) for key, v in metadata.items()})
    onnx.save(proto, tmp_path / "model.onnx")

    checkpoint = torch.load(newest / "model.ckpt", weights_only=True)
    torch.save({**checkpoint, checkpoint_file.STAMP: LATER}, tmp_path / "model.ckpt")
    recorded = {**checkpoint["provenance"], **LATER}
    torch.save({**checkpoint, "provenance": recorded}, tmp_path / "run.ckpt")
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr(checkpoint_file.PROVENANCE, "{}")
        archive.writestr(f"{checkpoint_file.STAMP}.json", json.dumps(LATER))

    config = {"provenance": recorded}
    with pytest.raises(LaterFormatError, match=r"^7: version 9\.0\.0 of the workflow wrote it"):
        finding._tracked("7", config, {}, [])
    for read, name in (
        (lambda path: load("later", path), "model.onnx"),
        (read_metadata, "model.onnx"),
        (subjects.file, "model.onnx"),
        (subjects.file, "model.ckpt"),
        (subjects.file, "run.ckpt"),
        (subjects.file, "zip.ckpt"),
    ):
        with pytest.raises(CommandError) as raised:
            read(tmp_path / name)
        assert name in str(raised.value)
        assert "version 9.0.0 of the workflow wrote it, in format 9" in str(raised.value)
    for name in ("model.ckpt", "run.ckpt"):
        override = f"train.init_from={tmp_path / name}"
        with pytest.raises(ConfigError, match=r"version 9\.0\.0 of the workflow wrote it"):
            start.load_start(plain(compose([*SAME_NETWORK, override], ROOT / CONF)))


def test_what_is_written_today_says_its_format(exported: Path, tmp_path: Path) -> None:
    version = formats.version()
    shutil.copyfile(exported / "run/model.ckpt", tmp_path / "model.ckpt")
    checkpoint = torch.load(tmp_path / "model.ckpt", weights_only=True)
    stamps = {
        signature.FORMAT: read_metadata(exported / "model.onnx")["signature"],
        checkpoint_file.FORMAT: checkpoint[checkpoint_file.STAMP],
        provenance.FORMAT: checkpoint["provenance"],
    }
    for number, stamped in stamps.items():
        assert (stamped["format"], stamped["version"]) == (number, version)
    checkpoint_file.write(tmp_path / "other.ckpt", {checkpoint_file.CONFIG: b"{}"})
    with zipfile.ZipFile(tmp_path / "other.ckpt") as archive:
        assert json.loads(archive.read("workflow.json"))["version"] == version
