"""What a deployment is given as NAME=SOURCE: files, revisions of Git, URLs; a real DVC project."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workflow.errors import CommandError
from workflow.serving import sources

FILE = "models/model.onnx"
TAG = "model@v1.0.0"


def run(folder: Path, *words: str) -> str:
    """Run a command in a folder; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    author = {
        f"GIT_{role}_{key}": "some@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for key in ("NAME", "EMAIL")
    }
    command = (sys.executable, "-m", *words) if words[0] == "dvc" else words
    done = subprocess.run(
        command, cwd=folder, env={**kept, **author}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project beside its storage: its model has a tag, and another is in the folder now."""
    folder = tmp_path_factory.mktemp("sources") / "project"
    (folder / "models").mkdir(parents=True)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "remote", "add", "--default", "storage", "../storage")
    shutil.copy(exported / "model.onnx", folder / FILE)
    run(folder, "dvc", "add", "--quiet", FILE)
    run(folder, "dvc", "push", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "First")
    run(folder, "git", "tag", TAG)
    (folder / FILE).write_bytes(second(exported))
    run(folder, "dvc", "add", "--quiet", FILE)
    run(folder, "git", "commit", "--quiet", "--all", "--message", "Second")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, to be changed by one test. It is current."""
    for variable in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(variable)
    shutil.copytree(made.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def second(exported: Path) -> bytes:
    """A model that is the same but for one thing it says of itself."""
    import onnx

    loaded = onnx.load(exported / "model.onnx")
    loaded.metadata_props.add(key="release", value="second")
    return loaded.SerializeToString()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_stored_by_its_content(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    stored = sources.fetch(f"digits={FILE}", folder)
    content = (project / FILE).read_bytes()
    assert (stored.name, stored.source, stored.commit) == ("digits", FILE, None)
    assert stored.sha256 == digest(content)
    assert stored.version == stored.sha256[:12]
    assert stored.file == folder / f"{stored.sha256}.onnx"
    assert stored.file.read_bytes() == content
    (project / FILE).write_bytes(b"other")
    assert stored.file.read_bytes() == content


def test_the_same_model_is_stored_once(project: Path, tmp_path: Path) -> None:
    first = sources.fetch(f"digits={FILE}", tmp_path / "models")
    again = sources.fetch(f"other={FILE}", tmp_path / "models")
    assert first.file == again.file
    assert list((tmp_path / "models").iterdir()) == [first.file]


def test_a_file_that_may_be_deployed_is_never_removed(project: Path, tmp_path: Path) -> None:
    (project / FILE).write_bytes(b"a model of another onnxruntime")
    deployed = tmp_path / "models" / f"{digest((project / FILE).read_bytes())}.onnx"
    with pytest.raises(CommandError):
        sources.fetch(f"digits={FILE}", tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == [], "what cannot be served is not kept"
    deployed.write_bytes((project / FILE).read_bytes())
    with pytest.raises(CommandError):
        sources.fetch(f"digits={FILE}", tmp_path / "models")
    assert deployed.exists()


@pytest.mark.parametrize("revision", [TAG, "HEAD~1", "commit"])
def test_a_revision_is_the_model_that_dvc_has_there(
    revision: str, project: Path, exported: Path, tmp_path: Path
) -> None:
    commit = run(project, "git", "rev-parse", TAG)
    revision = commit[:10] if revision == "commit" else revision
    stored = sources.fetch(f"digits={FILE}@{revision}", tmp_path / "models")
    assert stored.file.read_bytes() == (exported / "model.onnx").read_bytes()
    assert (stored.source, stored.commit) == (f"{FILE}@{revision}", commit)
    now = sources.fetch(f"digits={FILE}@HEAD", tmp_path / "models")
    assert now.file.read_bytes() == second(exported)


@pytest.mark.slow
def test_an_experiment_is_a_revision(project: Path, exported: Path, tmp_path: Path) -> None:
    run(project, "dvc", "remove", f"{FILE}.dvc")
    shutil.copy(exported / "model.onnx", project / "first.onnx")
    copy = f"import shutil; shutil.copy('first.onnx', '{FILE}')"
    (project / "again.py").write_text(copy)
    stage = ("--quiet", "--name=again", f"--outs={FILE}", "python again.py")
    run(project, "dvc", "stage", "add", *stage)
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "A stage")
    run(project, "dvc", "exp", "run", "--quiet", "--name=good-try")
    stored = sources.fetch(f"digits={FILE}@good-try", tmp_path / "models")
    assert stored.file.read_bytes() == (exported / "model.onnx").read_bytes()
    assert stored.commit == run(project, "dvc", "exp", "list", "--sha-only")


def test_a_revision_comes_from_the_remote_where_the_cache_has_it_not(
    project: Path, exported: Path, tmp_path: Path
) -> None:
    shutil.rmtree(project / ".dvc/cache")
    stored = sources.fetch(f"digits={FILE}@{TAG}", tmp_path / "models")
    assert stored.file.read_bytes() == (exported / "model.onnx").read_bytes()
    with pytest.raises(CommandError, match=r"@HEAD: neither the DVC cache nor the remote has it"):
        sources.fetch(f"digits={FILE}@HEAD", tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == [stored.file]


def test_a_url_is_stored_if_it_is_the_one_that_was_asked_for(project: Path, tmp_path: Path) -> None:
    url, right = (project / FILE).as_uri(), digest((project / FILE).read_bytes())
    stored = sources.fetch(f"digits={url}#sha256={right}", tmp_path / "models")
    assert (stored.sha256, stored.commit) == (right, None)
    with pytest.raises(CommandError, match=f"its SHA-256 is {right}, not {64 * '0'}"):
        sources.fetch(f"digits={url}#sha256={64 * '0'}", tmp_path / "models")


WRONG = [
    ("digits", "write NAME=SOURCE"),
    ("digits=", "write NAME=SOURCE"),
    (f"=x{FILE}", "'' is not a name"),
    (f"Digits={FILE}", "'Digits' is not a name"),
    (f"my_model={FILE}", "'my_model' is not a name"),
    (f"-a={FILE}", "'-a' is not a name"),
    (f"{41 * 'a'}={FILE}", "at most 40"),
    ("digits=models/none.onnx", "there is no such file: inv train"),
    ("digits=models", "there is no such file"),
    (f"digits={FILE}@nope", "unknown Git revision 'nope'"),
    (f"digits=models/none.onnx@{TAG}", f"models/none.onnx@{TAG}: DVC has no such file there"),
    ("digits=s3://bucket/model.onnx", "s3://bucket/model.onnx: write its SHA-256 behind it"),
    ("digits=s3://bucket/model.onnx#sha256=abc", "write its SHA-256 behind it"),
    (f"digits=ftp://host/model.onnx#sha256={64 * '0'}", "one of s3://, gs://"),
    ("digits=.dvc/config", ".dvc/config: "),
]


@pytest.mark.parametrize(("written", "reason"), WRONG)
def test_what_is_wrong_is_one_line_and_stores_nothing(
    written: str, reason: str, project: Path, tmp_path: Path
) -> None:
    with pytest.raises(CommandError) as raised:
        sources.fetch(written, tmp_path / "models")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "models").glob("*")) == []


def test_models_are_parted_by_commas_and_have_names_of_their_own() -> None:
    written = f"cnn={FILE}, mlp={FILE}@{TAG}"
    assert sources.parse_models(written) == [f"cnn={FILE}", f"mlp={FILE}@{TAG}"]
    for wrong, reason in [(f"a={FILE},a=x", "a: two models"), (f"a={FILE},", "NAME=SOURCE")]:
        with pytest.raises(CommandError, match=reason):
            sources.parse_models(wrong)


@pytest.mark.parametrize("remote", ["a folder", "none"])
def test_a_cluster_reads_no_folder_of_this_machine(remote: str, project: Path) -> None:
    if remote == "none":
        run(project, "dvc", "remote", "remove", "storage")
    for source in (FILE, f"{FILE}@{TAG}"):
        with pytest.raises(CommandError, match="a cluster cannot read it") as raised:
            sources.locate(f"digits={source}")
        assert "\n" not in str(raised.value)


def test_a_url_is_where_a_cluster_reads() -> None:
    url, sha256 = "s3://bucket/folder/model.onnx", 64 * "a"
    located = sources.locate(f"digits={url}#sha256={sha256}")
    assert (located.name, located.url, located.sha256) == ("digits", url, sha256)
    with pytest.raises(CommandError, match="write its SHA-256"):
        sources.locate(f"digits={url}")
