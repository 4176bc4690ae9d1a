"""The test double of the W&B service, driven by the real client in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from wandb_backend import Backend

LOG_THREE_ROWS = """
    import wandb

    names = {"project": "demo", "id": "first", "name": "a name", "tags": ["t"]}
    with wandb.init(**names, config={"lr": 0.1}) as run:
        print("a line of console")
        for step in range(3):
            run.log({"epoch": step, "loss": 1 / (step + 1)}, step=step, commit=True)
        run.summary["best"] = 0.25
        run.log({"table": wandb.Table(columns=["n"], data=[[7]])})
"""

LOG_ARTIFACT = """
    import pathlib

    import wandb

    pathlib.Path("weights.bin").write_bytes(bytes(range(256)) * 4096)
    pathlib.Path("labels.txt").write_text("zero one", encoding="utf-8")
    with wandb.init(project="demo", id="maker") as run:
        model = wandb.Artifact("model", "model", metadata={"accuracy": 0.9})
        model.add_file("weights.bin")
        model.add_file("labels.txt", name="text/labels.txt")
        run.log_artifact(model, aliases=["best"])
"""


@dataclass
class Client:
    """Runs Python with the real client against one backend, away from the user's own settings."""

    folder: Path
    backend: Backend

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT") if key in os.environ}
        wandb = self.folder / "wandb"
        nowhere = "http://127.0.0.1:9"  # whatever is not on this machine fails at once
        return {
            **kept,
            "HOME": str(self.folder),
            "USERPROFILE": str(self.folder),
            "HTTP_PROXY": nowhere,
            "HTTPS_PROXY": nowhere,
            "NO_PROXY": "127.0.0.1",
            "WANDB_BASE_URL": self.backend.url,
            "WANDB_API_KEY": self.backend.api_key,
            "WANDB_DIR": str(self.folder),
            "WANDB_DATA_DIR": str(wandb / ".data"),
            "WANDB_CACHE_DIR": str(wandb / ".cache"),
            "WANDB_CONFIG_DIR": str(wandb / ".config"),
            "WANDB_ERROR_REPORTING": "false",
            **extra,
        }

    def start(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            check=False,
            cwd=self.folder,
            env=self.environment(**extra),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )

    def python(self, script: str, **extra: str) -> str:
        done = self.start("-c", dedent(script), **extra)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, script: str) -> Any:
        """What the script prints last, read as JSON."""
        return json.loads(self.python(script).splitlines()[-1])

    def sync(self) -> str:
        done = self.start("-m", "wandb", "sync", "--yes")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client whose backend already holds one run and one artifact, both made online."""
    folder = tmp_path_factory.mktemp("online")
    with Backend(folder / "server") as backend:
        client = Client(folder, backend)
        client.python(LOG_THREE_ROWS)
        client.python(LOG_ARTIFACT)
        yield client


@pytest.fixture
def empty_client(tmp_path: Path) -> Iterator[Client]:
    with Backend(tmp_path / "server") as backend:
        yield Client(tmp_path, backend)


def assert_three_rows(backend: Backend) -> None:
    run = backend.run("demo", "first")
    rows = [row for row in run.history if "loss" in row]
    assert [(row["_step"], row["epoch"]) for row in rows] == [(0, 0), (1, 1), (2, 2)]
    assert [row["loss"] for row in rows] == pytest.approx([1, 1 / 2, 1 / 3])
    assert run.config == {"lr": 0.1}
    assert run.summary["best"] == 0.25
    assert run.summary["epoch"] == 2
    assert run.state == "finished"
    assert run.attributes["displayName"] == "a name"
    assert run.attributes["tags"] == ["t"]
    assert any("a line of console" in line for line in run.console)
    table = next(path for name, path in run.files.items() if name.startswith("media/table/"))
    assert json.loads(table.read_text(encoding="utf-8"))["data"] == [[7]]
    assert {"output.log", "config.yaml", "requirements.txt"} <= set(run.files)
    assert run.metadata["python"].startswith("CPython")


def assert_artifact(backend: Backend) -> None:
    model = backend.artifact("demo", "model:best")
    assert (model.name, model.type, model.run) == ("model:v0", "model", "maker")
    assert sorted(model.aliases) == ["best", "latest"]
    assert json.loads(model.metadata or "") == {"accuracy": 0.9}
    assert model.files["weights.bin"].read_bytes() == bytes(range(256)) * 4096
    assert model.files["text/labels.txt"].read_text(encoding="utf-8") == "zero one"
    assert model in backend.run("demo", "maker").artifacts


def test_an_online_run_is_recorded(client: Client) -> None:
    assert_three_rows(client.backend)


def test_an_artifact_is_recorded(client: Client) -> None:
    assert_artifact(client.backend)


def test_an_artifact_comes_back_byte_for_byte(client: Client) -> None:
    seen = client.ask("""
        import hashlib
        import json
        import pathlib

        import wandb

        with wandb.init(project="demo", id="user") as run:
            folder = pathlib.Path(run.use_artifact("model:best").download())
        files = ["weights.bin", "text/labels.txt"]
        digests = [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files]
        users = [run.id for run in wandb.Api().artifact("me/demo/model:best").used_by()]
        print()
        print(json.dumps({"digests": digests, "users": users}))
    """)
    sent = [bytes(range(256)) * 4096, b"zero one"]
    assert seen["users"] == ["user"]
    assert seen["digests"] == [hashlib.sha256(content).hexdigest() for content in sent]
    used = client.backend.run("demo", "user").used_artifacts
    assert [artifact.name for artifact in used] == ["model:v0"]


def test_the_public_api_reads_a_run_and_its_artifacts(client: Client) -> None:
    seen = client.ask("""
        import json

        import wandb

        api = wandb.Api()
        run, maker = api.run("me/demo/first"), api.run("me/demo/maker")
        steps = [row["_step"] for row in run.scan_history() if "loss" in row]
        sampled = run.history(keys=["loss"], pandas=False)
        downloaded = run.file("config.yaml").download(root="downloaded").read()
        model = api.artifact("me/demo/model:best")
        print(json.dumps({
            "config": run.config,
            "best": run.summary["best"],
            "state": run.state,
            "name": run.name,
            "files": [file.name for file in run.files()],
            "steps": steps,
            "sampled": [row["_step"] for row in sampled],
            "downloaded": downloaded,
            "runs": sorted(run.id for run in api.runs("me/demo")),
            "logged": [artifact.name for artifact in maker.logged_artifacts()],
            "used": [artifact.name for artifact in maker.used_artifacts()],
            "metadata": model.metadata,
            "maker": model.logged_by().id,
        }))
    """)
    assert seen["config"] == {"lr": 0.1}
    assert (seen["best"], seen["state"], seen["name"]) == (0.25, "finished", "a name")
    assert {"config.yaml", "requirements.txt", "wandb-metadata.json"} <= set(seen["files"])
    assert seen["steps"] == seen["sampled"] == [0, 1, 2]
    assert "lr:" in seen["downloaded"]
    assert {"first", "maker"} <= set(seen["runs"])
    assert (seen["logged"], seen["used"]) == (["model:v0"], [])
    assert (seen["metadata"], seen["maker"]) == ({"accuracy": 0.9}, "maker")


def test_an_offline_run_is_the_same_once_synced(empty_client: Client) -> None:
    empty_client.python(LOG_THREE_ROWS, WANDB_MODE="offline")
    empty_client.python(LOG_ARTIFACT, WANDB_MODE="offline")
    assert empty_client.backend.runs == {}
    output = empty_client.sync()
    assert "ERROR" not in output
    assert_three_rows(empty_client.backend)
    assert_artifact(empty_client.backend)


def test_offline_processes_of_one_run_become_one_run_once_synced(empty_client: Client) -> None:
    process = """
        import sys

        import wandb

        first, last = map(int, sys.argv[1:])
        settings = {"project": "demo", "id": "one", "resume": "allow"}
        with wandb.init(**settings, config={f"from_{first}": True}) as run:
            print(f"console from {first}")
            for step in range(first, last):
                run.log({"epoch": step}, step=step, commit=True)
    """
    for steps in (("0", "2"), ("2", "5")):
        done = empty_client.start("-c", dedent(process), *steps, WANDB_MODE="offline")
        assert done.returncode == 0, done.stderr
    assert "ERROR" not in empty_client.sync()
    run = empty_client.backend.run("demo", "one")
    assert [(row["_step"], row["epoch"]) for row in run.history] == [(n, n) for n in range(5)]
    assert run.config == {"from_0": True, "from_2": True}
    console = "".join(run.console)
    assert console.index("console from 0") < console.index("console from 2")


def test_a_resumed_run_continues_where_it_ended(empty_client: Client) -> None:
    empty_client.python(LOG_THREE_ROWS)
    start = empty_client.ask("""
        import json

        import wandb

        with wandb.init(project="demo", id="first", resume="must", config={"more": 1}) as run:
            start = {"step": run.starting_step, "best": run.summary["best"]}
            for step in (2, 4, 5):
                run.log({"epoch": step}, step=step, commit=True)
        print()
        print(json.dumps(start))
    """)
    run = empty_client.backend.run("demo", "first")
    assert start == {"step": 4, "best": 0.25}  # the table of the first process is at step 3
    epochs = [row["epoch"] for row in run.history if "epoch" in row]
    assert epochs == [0, 1, 2, 4, 5]  # step 2 is behind the start: the client leaves it out
    assert run.config == {"lr": 0.1, "more": 1}
    assert (run.summary["best"], run.summary["epoch"]) == (0.25, 5)
    assert any("a line of console" in line for line in run.console)


def test_resuming_a_run_that_is_not_there_is_refused(empty_client: Client) -> None:
    done = empty_client.start("-c", "import wandb; wandb.init(project='p', id='x', resume='must')")
    assert done.returncode != 0
    assert empty_client.backend.runs == {}


def test_a_wrong_key_is_refused(empty_client: Client) -> None:
    script = "import wandb; wandb.init(project='p', id='x')"
    done = empty_client.start("-c", script, WANDB_API_KEY="x" * 40)
    assert done.returncode != 0
    assert empty_client.backend.runs == {}


def test_a_second_version_takes_the_alias_and_shares_the_bytes(empty_client: Client) -> None:
    empty_client.python(LOG_ARTIFACT)
    empty_client.python("""
        import pathlib

        import wandb

        pathlib.Path("more.txt").write_text("more", encoding="utf-8")
        with wandb.init(project="demo", id="second") as run:
            model = wandb.Artifact("model", "model")
            model.add_file("weights.bin")
            model.add_file("more.txt")
            run.log_artifact(model, aliases=["best"]).wait()
        first = wandb.Api().artifact("me/demo/model:v0")
        first.aliases.append("kept")
        first.save()
    """)
    first = empty_client.backend.artifact("demo", "model:v0")
    second = empty_client.backend.artifact("demo", "model:best")
    assert (first.aliases, second.name) == (["kept"], "model:v1")
    assert sorted(second.aliases) == ["best", "latest"]
    assert first.files["weights.bin"] == second.files["weights.bin"]


def test_an_alias_is_taken_away_and_the_others_stay(empty_client: Client) -> None:
    empty_client.python(LOG_ARTIFACT)
    empty_client.python("""
        import wandb

        model = wandb.Api().artifact("me/demo/model:best")
        model.aliases = [alias for alias in model.aliases if alias != "best"]
        model.save()
    """)
    assert empty_client.backend.artifact("demo", "model:latest").aliases == ["latest"]
    with pytest.raises(KeyError):
        empty_client.backend.artifact("demo", "model:best")


def test_what_is_not_spoken_is_an_error_that_names_it(empty_client: Client) -> None:
    answer = empty_client.backend.answer({"query": "query Sweep { sweep { id } }"})
    assert "does not speak Sweep" in answer["errors"][0]["message"]
