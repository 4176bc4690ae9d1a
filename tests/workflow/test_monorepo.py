"""What a project in a folder of a repository writes at the top, beside what others have there."""

import subprocess
from pathlib import Path

import pytest
import yaml
from workflow import monorepo
from workflow.errors import CommandError
from workflow.paths import ROOT

OTHERS = """
repos:
  - repo: local
    hooks:
      - {id: theirs, name: x, entry: x, language: system}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a repository with the files of a project that count here."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "shop")], check=True)
    folder = tmp_path / "shop" / "models" / "churn"
    (folder / ".dvc").mkdir(parents=True)
    for name in (monorepo.HOOKS, monorepo.WORKFLOW, monorepo.UPDATE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    (folder / ".dvc/config").write_text('[\'remote "storage"\']\n    url = "../../churn-storage"\n')
    return folder


def test_hooks_are_put_beside_those_of_others_and_replaced_by_the_next_setup(project: Path) -> None:
    top = project.parents[1]
    (top / monorepo.HOOKS).write_text(OTHERS)
    assert len(monorepo.join(project)) == 4
    assert monorepo.join(project) == []
    text = (project / monorepo.HOOKS).read_text("utf-8")
    (project / monorepo.HOOKS).write_text(text.replace("--maxkb=500", "--maxkb=900"))
    assert monorepo.join(project) == [top / monorepo.HOOKS]
    theirs, own = yaml.safe_load((top / monorepo.HOOKS).read_text("utf-8"))["repos"]
    assert [hook["id"] for hook in theirs["hooks"]] == ["theirs"]
    entries = {hook["id"]: hook["entry"] for hook in own["hooks"]}
    assert entries["models-churn-large-files"].endswith("check-added-large-files --maxkb=900")


@pytest.mark.parametrize("text", ["repos: []\n", "repos:\nfail_fast: true\n", "- 1\n"])
def test_a_file_at_the_top_that_cannot_be_extended_stays(project: Path, text: str) -> None:
    top = project.parents[1]
    (top / monorepo.HOOKS).write_text(text)
    before = (project / ".dvc/config").read_text()
    with pytest.raises(CommandError, match="put `repos:` last"):
        monorepo.join(project)
    assert (top / monorepo.HOOKS).read_text() == text
    assert (project / ".dvc/config").read_text() == before
    assert not (top / ".github").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("../../churn-storage", "../../../../churn-storage"),
        ("../../../../churn-storage", "../../../../churn-storage"),
        ("/mnt/storage", "/mnt/storage"),
        ("s3://bucket/dvc", "s3://bucket/dvc"),
    ],
)
def test_a_remote_in_a_folder_is_outside_of_the_repository(
    project: Path, url: str, expected: str
) -> None:
    text = f'[\'remote "storage"\']\n    url = "{url}"\n'
    moved = monorepo.outside(text, project, project.parents[1])
    assert moved == text.replace(url, expected)


def test_ci_that_was_rewritten_is_one_line(project: Path) -> None:
    with pytest.raises(CommandError, match=r"^models/churn/\.github/workflows/ci\.yml: no line"):
        monorepo.github("name: Ours\non: [push]\njobs: {}\n", "models/churn", "models-churn")


def test_the_weekly_update_of_each_project_runs_in_its_folder(project: Path) -> None:
    monorepo.join(project)
    top = project.parents[1]
    content = yaml.safe_load((top / ".github/workflows/models-churn-update.yml").read_text("utf-8"))
    own = yaml.safe_load((project / monorepo.UPDATE).read_text("utf-8"))
    assert content["defaults"] == {"run": {"working-directory": "models/churn"}}
    assert content["jobs"] == own["jobs"]
    assert content[True] == own[True]  # YAML 1.1 reads `on` so
    # One of another project neither waits for it nor cancels it.
    assert content["concurrency"]["group"] == "template-update-models-churn"
    assert "../../.github/workflows/models-churn-update.yml" in monorepo.at_top(project)

    job = yaml.safe_load(monorepo.trigger("models/churn", "models-churn"))["models-churn"]
    assert job["trigger"]["forward"] == {"pipeline_variables": True}  # TEMPLATE_UPDATE
