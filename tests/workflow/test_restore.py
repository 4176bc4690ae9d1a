"""What a run keeps of uncommitted code, and what is compared when it is run again."""

import os
import subprocess
from pathlib import Path

import pytest
from workflow.errors import CommandError
from workflow.runs import finding
from workflow.runs.restoring.reproduce import Result
from workflow.tracking import patch


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "core.autocrlf=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def files(folder: Path) -> dict[str, bytes]:
    """Each file that Git would keep, as it is."""
    names = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    (folder / "package").mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_bytes(b".env\n")
    (folder / ".gitattributes").write_bytes(b"*.ipynb diff=people\n")
    (folder / "package/model.py").write_bytes(b"layers = 2\n")
    (folder / "package/old.py").write_bytes(b"old = 1\n")
    (folder / "unix and dos.txt").write_bytes(b"a\nb\r\nc")
    (folder / "notebook.ipynb").write_bytes(b"{}\n")
    (folder / "picture.png").write_bytes(bytes(range(256)))
    git(folder, "config", "diff.people.command", "echo what people like to read")
    git(folder, "config", "diff.noprefix", "true")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    return folder


@pytest.fixture
def changed(repository: Path) -> Path:
    """The same with changes of every kind, staged and not, in folders and beside them."""
    (repository / "package/model.py").write_bytes(b"layers = 3\n")
    (repository / "package/old.py").unlink()
    (repository / "package/new/deep").mkdir(parents=True)
    (repository / "package/new/deep/scale.py").write_bytes(b"scale = 1  \n\n\n")
    (repository / "[a] *.py").write_bytes(b"odd = 'name'\n")
    (repository / "größe.txt").write_bytes("größe\r\n".encode())
    (repository / "empty.txt").write_bytes(b"")
    (repository / "unix and dos.txt").write_bytes(b"a\r\nb\nd")
    (repository / "notebook.ipynb").write_bytes(b'{"cells": []}\n')
    (repository / "picture.png").write_bytes(bytes(reversed(range(256))))
    (repository / "new.bin").write_bytes(os.urandom(5000))
    (repository / "staged.py").write_bytes(b"staged = 1\n")
    git(repository, "add", "staged.py")
    (repository / "staged.py").write_bytes(b"staged = 2\n")
    (repository / ".env").write_bytes(b"KEY=secret\n")
    return repository


def test_a_worktree_with_the_patch_is_the_same_byte_for_byte(changed: Path, tmp_path: Path) -> None:
    changes = patch.take(changed)
    worktree = tmp_path / "worktree"
    git(changed, "worktree", "add", "--quiet", "--detach", str(worktree), "HEAD")
    patch.apply(changes.patch, worktree)
    assert files(worktree) == files(changed)
    assert not (worktree / "package/old.py").exists()
    assert changes.left_out == {}
    assert patch.take(worktree).sha256 == changes.sha256


def test_the_repository_is_not_touched(changed: Path) -> None:
    def everything() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in changed.rglob("*") if p.is_file()}

    before = everything()
    patch.take(changed)
    assert everything() == before


def test_secrets_and_what_is_too_large_stay_out(changed: Path) -> None:
    (changed / "huge.bin").write_bytes(bytes(9000))
    (changed / "nested").mkdir()
    git(changed / "nested", "init", "--quiet")
    (changed / "nested/file.py").write_bytes(b"nested = 1\n")
    changes = patch.take(changed, limit=8000)
    assert changes.left_out == {"huge.bin": "too large", "nested/": "a repository of its own"}
    assert b"KEY=secret" not in changes.patch
    assert b"huge.bin" not in changes.patch
    assert "new.bin" in patch.files(changes.patch)


def test_a_file_with_a_secret_stays_out_and_is_named(changed: Path) -> None:
    key = b"AKIA" + b"IOSFODNN7EXAMPLE"
    (changed / "new.py").write_bytes(b"a = 1\nkey = '" + key + b"'\n")
    (changed / "staged.py").write_bytes(b"staged = '" + key + b"'\n")
    (changed / "windows.txt").write_bytes(key.decode().encode("utf-16"))
    (changed / "package/model.py").write_bytes(b"layers = 4  # " + key + b"\n")
    changes = patch.take(changed)
    kind = "AWS Access Key in line"
    assert changes.left_out == {
        "new.py": f"{kind} 2",
        "package/model.py": f"{kind} 1",
        "staged.py": f"{kind} 1",
        "windows.txt": f"{kind} 1",
    }
    assert {"[a] *.py", "picture.png"} <= set(patch.files(changes.patch))
    assert set(changes.left_out) & set(patch.files(changes.patch)) == set()
    assert key not in changes.patch


def test_a_secret_of_the_commit_stays_out_only_where_the_patch_would_show_it(
    repository: Path,
) -> None:
    key = b"AKIA" + b"IOSFODNN7EXAMPLE"
    old = [b"key = '" + key + b"'\n", *(b"a = %d\n" % number for number in range(20))]
    (repository / "old.py").write_bytes(b"".join(old))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "A key")
    (repository / "old.py").write_bytes(b"".join([*old, b"b = 1\n"]))
    far = patch.take(repository)
    assert b"+b = 1" in far.patch
    assert far.left_out == {}
    (repository / "old.py").write_bytes(b"".join([b"key = None\n", *old[1:]]))
    assert patch.take(repository) == patch.Changes(b"", {"old.py": "AWS Access Key in line 1"})


def test_of_a_folder_of_the_repository_the_rest_is_left_out(changed: Path, tmp_path: Path) -> None:
    taken = patch.take(changed / "package")
    whole = set(patch.files(patch.take(changed).patch))
    own = {name for name in whole if name.startswith("package/")}
    assert set(patch.files(taken.patch)) == own < whole
    git(changed, "config", "diff.relative", "true")  # of a user
    assert patch.take(changed / "package") == taken
    worktree = tmp_path / "worktree"
    git(changed, "worktree", "add", "--quiet", "--detach", str(worktree), "HEAD")
    patch.apply(taken.patch, worktree)
    assert files(worktree / "package") == files(changed / "package")

    without = patch.take(changed / "package", without=[Path("model.py"), Path("new")])
    left_out = {"package/model.py", "package/new/deep/scale.py"}
    assert set(patch.files(without.patch)) == own - left_out


def test_without_changes_or_without_git_there_is_no_patch(repository: Path, tmp_path: Path) -> None:
    assert patch.take(repository).sha256 is None
    assert patch.take(tmp_path) == patch.Changes(b"")


def test_a_patch_that_does_not_fit_changes_nothing(changed: Path, tmp_path: Path) -> None:
    changes = patch.take(changed)
    (changed / "package/model.py").write_bytes(b"layers = 4\n")
    before = files(changed)
    with pytest.raises(CommandError, match=r"."):
        patch.apply(changes.patch, changed)
    assert files(changed) == before


def test_what_a_clock_measured_is_not_compared() -> None:
    metrics = {"val/loss": 0.5, "epochs": 2}
    summary = {**metrics, "_runtime": 3, "throughput/samples_per_s": 9.0, "stop_reason": "done"}
    assert finding.scalars(summary) == metrics


def test_the_smallest_difference_is_one() -> None:
    assert Result("val/loss", 0.1, 0.1).verdict == "identical"
    assert Result("val/loss", 0.1, 0.1000000000000001).verdict == "+9.71e-17"
    assert Result("val/loss", 0.1, None).verdict == "differs"
    assert Result("model/weights_sha256", "a", "b").verdict == "differs"
