"""What every project of Acme's has, at whatever version of upstream."""

import configparser
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = json.loads((ROOT / "team/cookiecutter.json").read_text("utf-8"))["settings"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    typed = ("ci=github", "dvc_remote=local", "cost_center=vision", "risk=high")
    options = ("--no-input", "--default-config", f"--output-dir={folder}", str(ROOT), *typed)
    subprocess.run([sys.executable, "-m", "cookiecutter", *options], check=True)
    (path,) = folder.iterdir()
    return path


def test_what_is_fixed_is_so_whatever_was_typed(project: Path) -> None:
    dvc = configparser.ConfigParser()
    dvc.read(project / ".dvc/config")
    url = dvc["'remote \"storage\"'"]["url"].strip('"')
    assert url == "s3://acme-models/vision/my-ml-project"
    assert (project / ".gitlab-ci.yml").exists()
    assert not (project / ".github").exists()


def test_the_defaults_are_the_teams(project: Path) -> None:
    lines = (project / "LICENSE").read_text("utf-8").splitlines()
    assert lines[0] == "Copyright (c) 2026 Acme Research. All rights reserved."
    assert re.search(r"entity: .*acme", (project / "conf/tracking/wandb.yaml").read_text("utf-8"))


def test_files_of_the_team_are_added_and_replaced_and_removed(project: Path) -> None:
    rules = (project / "docs/house-rules.md").read_text("utf-8")
    assert "My ML Project is paid for by vision. Risk: high." in rules
    assert "settings of Acme" in (project / ".editorconfig").read_text("utf-8")
    assert "Acme Research, ml@acme.example" in (project / "docs/data-card.md").read_text("utf-8")
    assert (project / "CODEOWNERS").read_text("utf-8") == "* @acme/ml\n"
    assert not (project / ".devcontainer").exists()


def test_each_lock_knows_the_companys_index_alone(project: Path) -> None:
    (index,) = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["index"]
    assert index["url"] == SETTINGS["package_index"]
    locks = [project / "uv.lock", *project.rglob("*.py.lock")]
    for lock in locks:
        text = lock.read_text("utf-8")
        packages = tomllib.loads(text)["package"]
        registries = {one["source"].get("registry") for one in packages} - {None}
        assert registries == {SETTINGS["package_index"]}
        addresses = re.findall(r'url = "(.*?)"', text)
        assert addresses
        assert all(address.startswith(SETTINGS["package_files"]) for address in addresses)


def test_each_file_of_code_begins_with_the_header(project: Path) -> None:
    files = [path for path in project.rglob("*.py") if path.read_text("utf-8").strip()]
    assert files
    for path in files:
        assert "Copyright 2026 Acme Research." in path.read_text("utf-8").split("\n\n")[0], path
