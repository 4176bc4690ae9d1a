"""Where data is, and how lineage is read and drawn, whatever a file or a service tells."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
import torch
from dvc.repo import Repo
from rich.console import Console
from workflow.errors import CommandError
from workflow.runs.lineage import inputs, subjects, tree
from workflow.serving import model

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC's own

COMMIT = "0123456789abcdef" * 2 + "01234567"
LOGIN = "me:secret"


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, str]:
    """A DVC repository whose remote `storage` has a folder of three files; the folder's hash."""
    root = tmp_path / "project"
    (root / "raw").mkdir(parents=True)
    for name in "abc":
        (root / "raw" / name).write_text(name)
    with Repo.init(str(root), no_scm=True) as repo:
        (stage,) = repo.add([str(root / "raw")])
        add_remote(root, "storage", str(tmp_path / "storage"))
        md5 = stage.outs[0].hash_info.value
    with Repo(str(root)) as repo:
        repo.push(remote="storage")
    return root, md5


def add_remote(root: Path, name: str, url: str, **options: str) -> None:
    with Repo(str(root)) as repo, repo.config.edit("local") as local:
        local["remote"][name] = {"url": url, **options}


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def drawn(subject: subjects.Subject, places: dict[str, list[str]] | None = None) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(tree.draw(subject, places or {}))
    return captured.get()


def provenance(**more: Any) -> subjects.Provenance:
    values = {"git": {"commit": COMMIT, "dirty": False}, "data": {}, "config": "c" * 64, **more}
    return msgspec.convert(values, subjects.Provenance)


def test_data_is_in_the_cache_and_in_each_remote_that_has_all_of_it(
    stored: tuple[Path, str], tmp_path: Path
) -> None:
    root, md5 = stored
    add_remote(root, "empty", str(tmp_path / "empty"))
    known = ["in the cache here", "in the remote storage", "not in the remote empty"]
    assert sorted(inputs.places([md5], root)[md5]) == sorted(known)
    shutil.rmtree(root / ".dvc/cache")
    assert inputs.places([md5], root)[md5][0] == "not in the cache here"
    assert "in the remote storage" in inputs.places([md5], root)[md5]
    assert not (root / ".dvc/cache/files").exists()  # to look brings nothing here
    next(path for path in objects(tmp_path / "storage") if path.suffix != ".dir").unlink()
    assert "3 of 4 objects in the remote storage" in inputs.places([md5], root)[md5]


def test_a_remote_that_cannot_be_asked_says_why_without_credentials(
    stored: tuple[Path, str],
) -> None:
    root, md5 = stored
    add_remote(root, "odd", f"webdav://{LOGIN}@127.0.0.1:1/data")
    (line,) = [line for line in inputs.places([md5], root)[md5] if "odd" in line]
    assert line.startswith("the remote odd cannot be asked: ")
    assert "\n" not in line
    assert "secret" not in line


def test_a_remote_that_does_not_answer_is_not_waited_for() -> None:
    def never() -> set[str]:
        time.sleep(5)
        return set()

    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        inputs._within(0.01, never)


def test_without_a_remote_or_without_dvc_it_says_so(tmp_path: Path) -> None:
    (line,) = inputs.places(["a" * 32], tmp_path)["a" * 32]
    assert "not inside of a DVC repository" in line
    Repo.init(str(tmp_path), no_scm=True).close()
    assert inputs.places(["a" * 32], tmp_path)["a" * 32] == [
        "not in the cache here",
        "there is no remote",
    ]


def test_a_model_and_its_checkpoint_say_the_same(exported: Path) -> None:
    of_model = subjects.file(exported / "model.onnx")
    of_checkpoint = subjects.file(exported / "run/model.ckpt")
    assert of_model.provenance == of_checkpoint.provenance
    assert of_model.title.endswith(model.load("m", exported / "model.onnx").version)


def test_a_file_that_tells_nothing_is_one_line(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "cut.ckpt").write_bytes((exported / "run/model.ckpt").read_bytes()[:500])
    plain = onnx.load(exported / "model.onnx")
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    onnx.helper.set_model_props(plain, {"provenance": json.dumps({"git": 1})})
    onnx.save(plain, tmp_path / "odd.onnx")
    reasons = {
        "text.onnx": "a broken one",
        "cut.ckpt": "a broken one",
        "plain.onnx": "it has no provenance",
        "odd.onnx": "its provenance cannot be read: .*git",
        "missing.onnx": "there is no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(CommandError, match=reason) as caught:
            subjects.find(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_checkpoint_calls_nothing_that_it_names(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"provenance": {}, "state": Touch()}, tmp_path / "odd.ckpt")
    with pytest.raises(CommandError, match="a broken one"):
        subjects.find(str(tmp_path / "odd.ckpt"))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://bucket/model.onnx", "s3:// cannot be asked"),
        (f"http://{LOGIN}@localhost:1", "without user and password"),
        ("http://127.0.0.1:1", "cannot be reached"),
        ("http://[", "not a URL"),
    ],
)
def test_a_url_without_provenance_is_one_line(url: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        subjects.find(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_image_that_this_is_and_one_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = f"sha256:{'0' * 64}"
    image = f"127.0.0.1:1/trained@{digest}"
    subject = subjects.Subject("model", provenance(image=image), "not known")
    assert "image 127.0.0.1:1/trained: " in drawn(subject)
    assert f"── {digest}\n" in drawn(subject)
    monkeypatch.setenv("WANDB_DOCKER", image)
    assert "image 127.0.0.1:1/trained: which this is" in drawn(subject)
    subject = subjects.Subject("model", provenance(), "not known")
    assert "image none: it was made outside of a container" in drawn(subject)


def test_what_a_service_tells_steers_no_terminal_and_no_command() -> None:
    origin = provenance(python="3\x1b[31m\n7", git={"commit": "--output=stolen", "dirty": True})
    text = drawn(subjects.Subject("model\x07", origin, "[red]x[/red]"))
    assert "python 3?[31m?7" in text
    assert "run [red]x[/red]" in text
    assert "commit not known" in text
    assert not {"\x1b", "\x07"} & set(text)
    assert not Path("stolen").exists()
