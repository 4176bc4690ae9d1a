"""The template's repository: its versions, their files, and what changed between them.

A repository on this machine is read in place, and never written to. One behind a URL is fetched
into a bare clone. Files come out as they were committed: no setting of Git converts them.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import git
from ..errors import CommandError
from ..git import GitError
from .record import Record, without_secret

QUESTIONS = "cookiecutter.json"
CHANGELOG = "CHANGELOG.md"
DEFAULT = "refs/template/default"  # in a clone: HEAD of the repository behind the URL
SHORTHANDS = {
    "gh": "https://github.com/{}.git",
    "gl": "https://gitlab.com/{}.git",
    "bb": "https://bitbucket.org/{}",
}


class NotLinkedError(CommandError):
    """The recorded address is no repository that other machines reach, but a folder or a zip."""


@contextmanager
def open_source(address: str, cache: Path | None = None) -> "Iterator[Source]":
    """Open the repository of a template.

    Args:
        address: a folder, a URL, or one of cookiecutter's shorthands such as `gh:owner/name`.
        cache: where the clone of a URL stays for the next time; None: it is removed afterwards.

    Raises:
        NotLinkedError: it is a zip file, or a folder that is not on this machine.
        CommandError: there is no repository, or it is not reachable.
    """
    folder = Path(address).expanduser()
    if folder.is_dir():
        yield Source(address, _git_dir(folder), "HEAD")
        return
    if address.lower().endswith(".zip"):
        raise NotLinkedError(
            f"{without_secret(address)} is a zip file, which has one version only: name the"
            " template's repository: inv template.link URL"
        )
    if not re.match(r"\w[\w+.-]*:", address) and "@" not in address:
        raise NotLinkedError(
            f"the template's folder {address} does not exist: inv template.link URL says where"
            " it is now"
        )
    temporary = None if cache else tempfile.mkdtemp(prefix="template-")
    clone = cache or Path(str(temporary))
    try:
        _fetch(expanded(address), clone)
        yield Source(address, clone, DEFAULT, remote=expanded(address))
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def cache(project: Path) -> Path | None:
    """Return where a project keeps the clone of its template; None where it has no repository."""
    arguments = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    try:
        folder = os.fsdecode(git.run(project, *arguments, elsewhere=True)).rstrip("\r\n")
    except GitError:
        return None
    return Path(folder) / "template-clone"


def expanded(address: str) -> str:
    """Return the URL for Git: cookiecutter's shorthands are its own."""
    kind, _, rest = address.partition(":")
    if kind in SHORTHANDS and not rest.startswith("//"):
        return SHORTHANDS[kind].format(rest)
    return address.removeprefix("git+")


@dataclass(frozen=True)
class Source:
    """A template's repository.

    Args:
        address: as it was given.
        repository: its Git folder, or that of a clone.
        default: the ref of its newest commit.
        remote: the URL that the clone is of; "" for a repository on this machine.
    """

    address: str
    repository: Path
    default: str
    remote: str = ""

    def newest(self, branch: str | None = None) -> str:
        """Return the newest commit of a branch; of the default one if it does not exist."""
        if branch and (commit := self._commit(f"refs/heads/{branch}")):
            return commit
        if commit := self._commit(self.default):
            return commit
        raise CommandError(f"the template {self.shown} has no commit")

    def resolve(self, name: str) -> str:
        """Return the commit of a version, a tag, a branch or a commit.

        A version without a tag is the first commit whose cookiecutter.json has it.

        Raises:
            CommandError: there is none.
        """
        for tag in (f"refs/tags/v{name}", f"refs/tags/{name}"):
            if commit := self._commit(tag):
                return commit
        if commit := self.versions().get(name.removeprefix("v")):
            return commit
        if commit := self._commit(name):
            return commit
        latest = ", ".join(list(self.versions())[-3:])
        raise CommandError(
            f"the template {self.shown} has no version, tag or commit {name}: it has {latest}"
        )

    def recorded(self, record: Record) -> str:
        """Return the commit that a project was made from, by its record.

        Raises:
            CommandError: the repository does not have it.
        """
        if record.commit:
            if commit := self._commit(record.commit) or self._fetched(record.commit):
                return commit
            raise CommandError(
                f"the template {self.shown} does not have the project's commit"
                f" {record.commit[:10]}: inv template.link URL, with the repository that has it"
            )
        if record.version:
            return self.resolve(record.version)
        raise CommandError(
            f"the project's record has neither commit nor version: inv template.link {self.shown}"
            " --version VERSION"
        )

    def has(self, commit: str) -> bool:
        """Whether a commit is there."""
        return (self._commit(commit) or self._fetched(commit)) is not None

    def history(self) -> Iterator[tuple[str, dict[str, str | None]]]:
        """Yield each commit of the default branch, the oldest first, and the blobs that it changed.

        By path; None for a file that it removed.
        """
        options = (
            "--first-parent",
            "--reverse",
            "-m",
            "--root",
            "--raw",
            "--no-renames",
            "--no-abbrev",
        )
        printed = os.fsdecode(self._git("log", *options, "-z", "--format=%H", self.newest()))
        parts = iter(printed.split("\0"))
        commit, blobs = "", dict[str, str | None]()
        for part in map(str.lstrip, parts):
            if part.startswith(":"):
                *_, blob, status = part.split()
                blobs[next(parts)] = None if status == "D" else blob
            elif part:
                if commit:
                    yield commit, blobs
                commit, blobs = part, {}
        if commit:
            yield commit, blobs

    def behind(self, old: str, new: str) -> int:
        """Return how many commits of the branch of `new` are not in `old`."""
        listed = self._git("rev-list", "--count", "--first-parent", f"{old}..{new}")
        return int(listed.decode())

    def version(self, commit: str) -> str | None:
        """Return a commit's `__version`; None where it has none."""
        return self._versions_of([commit])[0]

    def versions(self) -> dict[str, str]:
        """Return the first commit of each version, the oldest version first."""
        return self._versions

    @cached_property
    def _versions(self) -> dict[str, str]:
        log = ("log", "--first-parent", "--reverse", "--format=%H", self.newest(), "--", QUESTIONS)
        commits = self._git(*log).decode().split()
        first_commits: dict[str, str] = {}
        for commit, version in zip(commits, self._versions_of(commits), strict=True):
            if version:
                first_commits.setdefault(version, commit)
        return first_commits

    def archive(self, commit: str, folder: Path) -> None:
        """Write the files of a commit into a folder, byte by byte as they were committed."""
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")
        entries = []  # mode, blob, name
        for line in filter(None, listed):
            described, _, path = line.partition(b"\t")
            mode, kind, blob = described.split()
            if kind == b"blob":
                entries.append((mode, blob.decode(), os.fsdecode(path)))
        contents = self._blobs([blob for _, blob, _ in entries])
        for (mode, _, name), content in zip(entries, contents, strict=True):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if mode == b"120000":
                target.symlink_to(os.fsdecode(content or b""))
                continue
            target.write_bytes(content or b"")
            if mode == b"100755":
                target.chmod(0o755)

    def questions(self, commit: str) -> dict[str, object]:
        """Return a commit's cookiecutter.json."""
        (content,) = self._blobs([f"{commit}:{QUESTIONS}"])
        if content is None:
            raise CommandError(f"commit {commit[:10]} of {self.shown} has no {QUESTIONS}")
        parsed: dict[str, object] = json.loads(content)
        return parsed

    def changelog(self, old: str, new: str) -> str:
        """Return what the changelog has at one commit and did not have at another; "" for nothing.

        A section that both have is shown with the lines that it gained.
        """
        before, after = (_sections(text) for text in self._changelogs(old, new))
        parts = []
        for heading, lines in after.items():
            old_lines = set(before.get(heading, ()))
            new_lines = [x for x in lines if x not in old_lines] if heading in before else lines
            if any(line.strip() and not line.startswith("#") for line in new_lines):
                body = "\n".join(new_lines).strip()
                parts.append(f"{heading}\n\n{body}")
        return "\n\n".join(parts)

    @property
    def shown(self) -> str:
        """The address as messages have it."""
        return without_secret(self.address)

    def _changelogs(self, *commits: str) -> list[str]:
        contents = self._blobs([f"{commit}:{CHANGELOG}" for commit in commits])
        return [(content or b"").decode(errors="replace") for content in contents]

    def _versions_of(self, commits: list[str]) -> list[str | None]:
        return [_version(content) for content in self._blobs([f"{x}:{QUESTIONS}" for x in commits])]

    def _blobs(self, names: list[str]) -> list[bytes | None]:
        """Return the contents of objects; None for one that is not there."""
        if not names:
            return []
        typed = "".join(f"{name}\n" for name in names).encode()
        printed = self._git("cat-file", "--batch", content=typed)
        contents: list[bytes | None] = []
        position = 0
        for _ in names:
            end = printed.index(b"\n", position)
            header = printed[position:end]
            position = end + 1
            if header.endswith(b" missing"):
                contents.append(None)
                continue
            size = int(header.split()[2])
            contents.append(printed[position : position + size])
            position += size + 1
        return contents

    def _commit(self, name: str) -> str | None:
        try:
            arguments = ("--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            return self._git("rev-parse", *arguments).decode().split()[-1]
        except GitError:
            return None

    def _fetched(self, commit: str) -> str | None:
        """Fetch a commit that is on no branch any more, if the server allows it."""
        if not self.remote:
            return None
        try:
            self._git("fetch", "--quiet", "--no-tags", self.remote, commit)
        except GitError:
            return None
        return self._commit(commit)

    def _git(self, *arguments: str, content: bytes = b"") -> bytes:
        return _git(self.repository, *arguments, content=content)


def _git(repository: Path, *arguments: str, content: bytes = b"") -> bytes:
    """Run Git on a template's repository, whatever repository Git's variables name."""
    command = (f"--git-dir={repository}", "--no-replace-objects", *arguments)
    return git.run(repository, *command, content=content, elsewhere=True)


def _git_dir(folder: Path) -> Path:
    """Return the Git folder of a work tree or a bare repository on this machine."""
    # A folder inside of another repository is not one itself.
    if not (folder / ".git").exists() and not (folder / "HEAD").exists():
        raise CommandError(
            f"the template's folder {folder} is not a Git repository, so its versions are not"
            " known: inv template.link URL, with its repository"
        )
    try:
        printed = git.run(folder, "rev-parse", "--absolute-git-dir", elsewhere=True)
    except GitError as error:
        raise CommandError(str(error)) from None
    return Path(os.fsdecode(printed).rstrip("\r\n"))


def _fetch(url: str, clone: Path) -> None:
    """Make a bare clone, or bring it up to date."""
    try:
        if not (clone / "HEAD").exists():
            clone.mkdir(parents=True, exist_ok=True)
            forms = ("-c", "init.defaultRefFormat=files")
            plain = ("--quiet", "--bare", "--template=", "--object-format=sha1")
            git.run(clone, *forms, "init", *plain, str(clone), elsewhere=True)
        refs = [f"+HEAD:{DEFAULT}", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        options = ("--quiet", "--prune", "--no-tags", "--no-auto-maintenance", "--end-of-options")
        _git(clone, "fetch", *options, url, *refs)
    except GitError as error:
        raise CommandError(
            f"the template {without_secret(url)} cannot be reached:"
            f" {str(error).replace(url, without_secret(url))}"
        ) from None


def _version(questions: bytes | None) -> str | None:
    try:
        version = json.loads(questions or b"{}").get("__version")
    except (ValueError, AttributeError):
        return None
    return version if isinstance(version, str) else None


def _sections(changelog: str) -> dict[str, list[str]]:
    """Return the lines of each section, by its heading."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in changelog.splitlines():
        if line.startswith("## "):
            lines = sections.setdefault(line, [])
        else:
            lines.append(line)
    return sections
