"""Data goes to each kind of remote and comes back, on real servers of this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from baking import bake
from driving import Project, set_up

pytestmark = pytest.mark.slow

SCRIPTS = Path(sys.executable).parent


@dataclass
class Remote:
    """A running server: its address, and what only the user's own .dvc/config.local holds."""

    kind: str
    url: str
    local: dict[str, str]
    secrets: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)  # what the server refuses
    advice: str = ""  # what is said then


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def served(port: int, *command: str | Path, log: Path) -> Iterator[None]:
    """Run a server until it is no longer needed; it listens when this begins."""
    with log.open("w") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 60
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def s3(folder: Path) -> Iterator[Remote]:
    (folder / "bucket").mkdir()
    port, key, secret = free_port(), "KEYID123", "s3-secret-of-the-test"
    command = (SCRIPTS / "rclone", "serve", "s3", "--addr", f"127.0.0.1:{port}")
    with served(port, *command, "--auth-key", f"{key},{secret}", folder, log=folder / "log"):
        local = {
            "endpointurl": f"http://127.0.0.1:{port}",
            "access_key_id": key,
            "secret_access_key": secret,
        }
        wrong = {"secret_access_key": "wrong"}
        advice = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env"
        yield Remote("s3", "s3://bucket/dvc", local, [secret], wrong=wrong, advice=advice)


@contextmanager
def gcs(folder: Path) -> Iterator[Remote]:
    port = free_port()
    options = ("--host=127.0.0.1", f"--port={port}", "--in-memory", "--default-bucket=bucket")
    with served(port, SCRIPTS / "gcp-storage-emulator", "start", *options, log=folder / "log"):
        endpoint = f"http://127.0.0.1:{port}"
        yield Remote(
            "gcs",
            "gs://bucket/dvc",
            {"endpointurl": endpoint},
            variables={"STORAGE_EMULATOR_HOST": endpoint},
        )


@contextmanager
def webdav(folder: Path) -> Iterator[Remote]:
    (folder / "dvc").mkdir()
    port, password = free_port(), "webdav-secret-of-the-test"
    command = (SCRIPTS / "rclone", "serve", "webdav", "--addr", f"127.0.0.1:{port}")
    options = ("--user", "someone", "--pass", password)
    with served(port, *command, *options, folder, log=folder / "log"):
        local = {"user": "someone", "password": password}
        wrong, advice = {"password": "wrong"}, "dvc remote modify --local storage password"
        url = f"webdav://127.0.0.1:{port}/dvc"
        yield Remote("webdav", url, local, [password], wrong=wrong, advice=advice)


@contextmanager
def ssh(folder: Path) -> Iterator[Remote]:
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert sshd, "install openssh-server"
    separation = Path("/run/sshd")  # asked for by sshd; the service makes it where it runs
    if not separation.exists():
        separation.mkdir()
    for name in ("host", "user"):
        make_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make_key, check=True)
    (folder / "config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\n"
        "ListenAddress 127.0.0.1\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "Subsystem sftp internal-sftp\n"
    )
    port = free_port()
    command = (sshd, "-D", "-e", "-p", str(port), "-f", str(folder / "config"))
    with served(port, *command, log=folder / "log"):
        local = {"keyfile": str(folder / "user")}
        wrong = {"keyfile": str(folder / "host")}
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}/dvc"
        advice = "dvc remote modify --local storage keyfile FILE"
        yield Remote("ssh", url, local, wrong=wrong, advice=advice)


@pytest.mark.parametrize("server", [s3, gcs, webdav, ssh], ids=lambda server: server.__name__)
def test_data_goes_there_and_comes_back(
    server: Callable[[Path], AbstractContextManager[Remote]], begun_sklearn: Project, tmp_path: Path
) -> None:
    served_folder = tmp_path / "server"
    served_folder.mkdir()
    with server(served_folder) as remote:
        answers = {"dvc_remote": remote.kind, "dvc_remote_url": remote.url}
        answers["framework"] = begun_sklearn.framework
        project = begun_sklearn.copy(tmp_path)
        generated = bake(**answers).read(".dvc/config")
        (project.path / ".dvc/config").write_text(generated, encoding="utf-8")
        project.commit("Its answers")
        for option, value in remote.local.items():
            project.run("dvc", "remote", "modify", "--local", "storage", option, value)

        outside = tmp_path / "photos"
        outside.mkdir()
        # The emulator of Google's storage cuts off the end of a line at the end of a file.
        content = {f"{number}.bin": os.urandom(10_000) + b"." for number in range(20)}
        for name, text in content.items():
            (outside / name).write_bytes(text)
        project.inv("data.add", str(outside))
        project.commit("Photos")
        project.inv("data.push", variables=remote.variables)
        assert "in sync" in project.inv("data.status", variables=remote.variables)

        shutil.rmtree(project.path / ".dvc/cache")
        shutil.rmtree(project.path / "data/photos")
        project.inv("data.pull", variables=remote.variables)
        back = {path.name: path.read_bytes() for path in (project.path / "data/photos").iterdir()}
        assert [name for name in content if back.get(name) != content[name]] == []

        tracked = project.run("git", "grep", "--name-only", "-e", "KEYID", "-e", "storage")
        assert ".dvc/config.local" not in tracked
        for secret in remote.secrets:
            project.run("git", "grep", "--quiet", secret, code=1)
        assert "fix" not in project.inv("doctor", variables=remote.variables)

        if remote.wrong:
            for option, value in remote.wrong.items():
                project.run("dvc", "remote", "modify", "--local", "storage", option, value)
            shutil.rmtree(project.path / ".dvc/cache")
            _, line = project.inv("data.pull", code=1).splitlines()
            assert line.startswith("pull: data/photos is not here, and the remote storage refuses")
            assert remote.advice in line
            assert (project.path / "data/photos").is_dir()


def with_remote(begun_sklearn: Project, folder: Path, url: str) -> Project:
    """A copy of a project, with another remote in place of its own."""
    project = begun_sklearn.copy(folder)
    project.run("dvc", "remote", "modify", "storage", "url", url)
    project.commit("Another remote")
    return project


def test_git_push_sends_data_with_the_keys_in_env_and_says_why_it_cannot(
    begun_sklearn: Project, tmp_path: Path
) -> None:
    server = tmp_path / "server"
    server.mkdir()
    with s3(server) as remote:
        project = with_remote(begun_sklearn, tmp_path, remote.url)
        options = ("remote", "modify", "--local", "storage", "endpointurl")
        project.run("dvc", *options, remote.local["endpointurl"])
        (project.path / "data/one.txt").write_text("a sample")
        project.inv("data.add", "data/one.txt")
        project.commit("A sample")
        project.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin"))
        push = ("git", "push", "--quiet", str(tmp_path / "origin"), "HEAD:main")
        key = f"AWS_ACCESS_KEY_ID={remote.local['access_key_id']}\nAWS_SECRET_ACCESS_KEY="
        (project.path / ".env").write_text(f"{key}wrong\n")
        refused = project.run(*push, code=1)
        assert "refuses the credentials" in refused
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env" in refused
        assert [path for path in (server / "bucket").rglob("*") if path.is_file()] == []
        (project.path / ".env").write_text(f"{key}{remote.local['secret_access_key']}\n")
        project.run(*push)
        sent = [path.read_text() for path in (server / "bucket").rglob("*") if path.is_file()]
        assert sent == ["a sample"]


def test_a_remote_that_does_not_answer_is_one_line_of_the_doctor(
    begun_sklearn: Project, tmp_path: Path
) -> None:
    project = with_remote(begun_sklearn, tmp_path, f"webdav://127.0.0.1:{free_port()}/dvc")
    printed = project.inv("doctor", code=1)
    (line,) = [line for line in printed.splitlines() if line.startswith("fix")]
    assert "DVC remote" in line


@pytest.mark.weekly
def test_a_training_reads_published_shards_and_is_that_of_shards_on_the_disk(
    tmp_path: Path,
) -> None:
    server = tmp_path / "server"
    server.mkdir()
    with s3(server) as remote:
        variables = {
            "AWS_ACCESS_KEY_ID": remote.local["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": remote.local["secret_access_key"],
            "AWS_ENDPOINT_URL": remote.local["endpointurl"],
            "AWS_REGION": "us-east-1",
        }
        project = set_up(tmp_path / "one")
        module = f"{project.path.name.replace('-', '_')}"
        stream = ["loader=stream", "loader.shard_mb=0.01", "trainer.max_epochs=2"]
        project.run("python", "-m", f"{module}.fetch")
        project.run("python", "-m", f"{module}.prepare", *stream)
        train = ("python", "-m", f"{module}.train", "hydra.run.dir=runs/stream", *stream)
        project.run(*train)
        here = project.json("runs/stream/metrics.json")

        wrong = {**variables, "AWS_SECRET_ACCESS_KEY": "wrong"}
        address = "s3://bucket/digits"
        assert "s3://bucket/digits/" in project.inv(
            "data.publish", address, code=1, variables=wrong
        )
        assert "next: inv data.stream" in project.inv("data.publish", address, variables=variables)
        (tmp_path / "two").mkdir()
        other = project.copy(tmp_path / "two")
        for folder in ("data", "runs"):
            shutil.rmtree(other.path / folder)
        (other.path / "data").mkdir()
        project.inv("data.stream", "s3://bucket/nothing", code=1, variables=variables)
        other.inv("data.stream", address, variables=variables)
        assert not list((other.path / "data/prepared").glob("*images*"))
        for workers in (0, 2):
            shutil.rmtree(other.path / "runs/stream", ignore_errors=True)
            shutil.rmtree(other.path / "data/prepared/fetched", ignore_errors=True)
            other.run(*train, f"loader.workers={workers}", variables=variables)
            assert other.json("runs/stream/metrics.json") == here
