"""Secrets that lie in a project reach neither a run, nor W&B's server, nor a config.

The server is a double of W&B's; the client, Git and detect-secrets are the real ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from driving import Project
from tracked import NOWHERE, Server
from wandb_backend import Run

pytestmark = pytest.mark.slow

# In parts, so that this file itself holds none.
AWS_ID = "AKIA" + "Z3MSJV4WWNKWLXGH"
AWS_KEY = "kSmB8CEx+2xdvBZ0ztQq" + "/Bbl5AJgJdIeXv1UTcRH"
WANDB_KEY = "8f4d3c1ab2e59607" + "d1c0b9a8f7e6d5c4b3a29180"
TOKEN = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
KEY_BODY = "MIIEvQIBADANBgkqhkiG9w0B" + "AQEFAASCBKcwggSjAgEAAoIBAQC7"
COMPANY = "only the company knows it"
SECRETS = [AWS_ID, AWS_KEY, WANDB_KEY, TOKEN, KEY_BODY, COMPANY]
BLOCK = f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}\n-----END PRIVATE KEY-----\n"


def holders(contents: dict[str, bytes]) -> dict[str, list[str]]:
    """Which contents hold which secrets, in either encoding."""
    by_file = {
        name: [s for s in SECRETS if s.encode() in content or s.encode("utf-16-le") in content]
        for name, content in contents.items()
    }
    return {name: secrets for name, secrets in by_file.items() if secrets}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def described(run: Run) -> bytes:
    """All that the server was told of a run, beside its files."""
    return json.dumps(vars(run), default=str).encode()


def test_keys_in_the_project_stay_out_of_runs_and_of_what_is_uploaded(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    (project.path / ".env.local").write_text(f"AWS_SECRET_ACCESS_KEY={AWS_KEY}\n")
    (project.path / "server.pem").write_text(BLOCK)
    (project.path / "keys").mkdir()
    (project.path / "keys/server").write_text(BLOCK)
    (project.path / "keys/aws.txt").write_text(f"{AWS_ID}\nAWS_SECRET_ACCESS_KEY={AWS_KEY}\n")
    (project.path / "keys/windows.txt").write_text(f"token: {TOKEN}\n", encoding="utf-16")
    (project.path / "keys/company.py").write_text(f"words = '{COMPANY}'\n")
    (project.path / "notes.txt").write_text("an ordinary change\n")
    train = project.path / "my_ml_project/train.py"  # what W&B would save as the run's program
    train.write_text(f'WANDB_API_KEY = "{WANDB_KEY}"\n' + train.read_text("utf-8"))
    project.run("git", "remote", "add", "origin", f"https://{TOKEN}:x-oauth-basic@example.com/a")
    before = {path.name for path in (project.path / "wandb").iterdir()}

    with Server(tmp_path / "server") as backend:
        (project.path / ".env").write_text(
            f"WANDB_API_KEY={backend.api_key}\nCOMPANY_PASSWORD={COMPANY}\n"
        )
        away = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}
        variables = {**away, "WANDB_BASE_URL": backend.url, "WANDB_MODE": "offline"}
        options = ["hydra.run.dir=outputs/one", "tracking.mode=offline"]
        printed = project.run("python", "-m", "my_ml_project.train", *options, variables=variables)
        project.inv("wandb.sync", variables=variables)
        runs = [run for (_, name), run in backend.runs.items() if name not in str(before)]
        sent = {**files(tmp_path / "server"), **{run.name: described(run) for run in runs}}
    (run,) = runs
    (folder,) = (path for path in (project.path / "wandb").iterdir() if run.name in path.name)
    assert holders(files(folder)) == {}
    assert holders(files(project.path / "outputs")) == {}
    assert holders(sent) == {}
    assert holders({"printed": printed.encode()}) == {}

    # What is no secret is kept; what was left out is named, where it is and what is in it.
    patch = (folder / "files/code.patch").read_text("utf-8")
    assert "+an ordinary change" in patch
    assert set(run.files) & {"diff.patch", "code"} == set()
    assert {line.partition(" (")[0] for line in run.config["provenance"]["git"]["left_out"]} == {
        *("keys/aws.txt", "keys/company.py", "keys/server", "keys/windows.txt"),
        "my_ml_project/train.py",
    }
    assert "my_ml_project/train.py (Weights & Biases key in line 1)" in printed
    assert "keys/company.py (value of COMPANY_PASSWORD in line 1)" in printed
    restored = project.inv("restore", run.name)
    (line,) = [line for line in restored.splitlines() if "cannot be restored" in line]
    assert "keys/aws.txt (AWS Access Key in line 1)" in line
    copy = tmp_path / f"{project.path.name}-restored" / run.name
    assert (copy / "notes.txt").read_text() == "an ordinary change\n"
    assert not (copy / "keys").exists()
    refused = project.inv("train", "--", f"tracking.tags=[{AWS_ID}]", code=1)
    assert "tracking.tags: is a secret (AWS Access Key)" in refused
