"""Whole projects of earlier versions, carried over to today's files: what was recorded is read.

A line is printed for each command; `-s` shows them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yesterday
from baking import bake
from driving import Project

pytestmark = [pytest.mark.slow, pytest.mark.weekly]

ASK = """
import sys
from pathlib import Path
from workflow.serving import sources
from workflow.serving.model import load
from workflow.signature import encode
stored = sources.fetch("old=" + sys.argv[1], Path(sys.argv[2]))
model = load("old", stored.file)
(spec,) = model.signature["inputs"]
for sample in model.samples:
    model.predict({spec["name"]: encode(spec, [sample["inputs"][spec["name"]]])})
specs = [*model.signature["inputs"], *model.signature["outputs"]]
print(model.run, [spec["kind"] for spec in specs])
"""
BEFORE_KINDS = ("first", "serve", "restore", "registry", "0.2.0", "1.0.0")


@pytest.mark.parametrize("version", yesterday.VERSIONS)
def test_what_a_version_recorded_is_read_today(version: str, tmp_path: Path) -> None:
    project = yesterday.make(version, tmp_path)
    commit = yesterday.git(project.path, "rev-parse", "HEAD").strip()
    run = yesterday.run_of(project).name.rpartition("-")[2]
    registered = "model@v0.0.1" in yesterday.git(project.path, "tag").split()
    assert registered is (version not in ("first", "serve", "restore"))
    yesterday.update(project, bake().path)

    def read(module: str, *arguments: str, code: int = 0) -> str:
        printed = yesterday.call(
            project, "python", "-m", f"workflow.{module}", *arguments, code=code
        )
        assert "Traceback" not in printed
        (last, *_) = [*reversed(printed.splitlines()), ""]  # a check that is fine prints nothing
        print(f"{version:<9} {module} {' '.join(arguments)[:50]:<50} {code} {last}")
        return printed

    names = [commit, *(["model", "model#production", "model@v0.0.1"] if registered else [])]
    for name in names:
        source = name if name.startswith("model") else f"models/model.onnx@{name}"
        command = ("python", "-c", ASK, source, str(tmp_path / "served"))
        assert "'image', 'classes'" in yesterday.call(project, *command)
    for what in ("models/model.onnx", "runs/train/model.ckpt", run, *names):
        assert "val/loss" in read("runs.lineage", what)
    if registered:
        row = next(
            line for line in read("runs.promoting", "history").splitlines() if "v0.0.1" in line
        )
        assert re.search(r"accuracy 0\.\d+|loss \d\.\d+", row)
    assert read("runs.experiments", "--all-commits=2").count("0.2") > 2

    for start in (run, commit):
        override = f"train.init_from={start}"
        if version in BEFORE_KINDS:
            printed = read("pipeline.params", "--check", override, code=1)
            assert printed.endswith(f"before 2.0.0 trained it, whose code can: inv restore {run}\n")
        else:
            read("pipeline.params", "--check", override)

    folder = tmp_path / "restored"
    printed = read("runs.restoring", "reproduce", run, f"--into={folder}")
    assert re.search(r"^all \d+ identical$", printed, re.MULTILINE)
    assert (Project(folder).path / "models/model.onnx").exists()
