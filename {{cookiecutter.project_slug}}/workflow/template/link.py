"""Record the template of a project that has no record of it, or bring the template to a repository.

    python -m workflow.template.link URL [--version VERSION] [--answer NAME=VALUE] [--project PATH]

A project that was made from the template gets its record: the version whose files it has, and the
answers that its own files show. A repository that was not gets a branch, on which the template's
files lie beside its own; merging it is left to its owner.
"""

import argparse
import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import CommandError
from ..git import GitError
from ..paths import ROOT
from . import foreign, record, source
from .drift import changes, contents
from .evident import answers_of, package_of
from .rendering import rendering
from .source import Source, open_source

# So many of a project's files are, byte by byte, those of a version: it was made from the template.
ALIKE = 10
PACKAGE = re.compile(r"\{\{cookiecutter\.package_name\}\}")
PLACEHOLDERS = re.compile(r"\{\{cookiecutter\.__\w+\}\}|\{\{'|' if [^}]+\}\}")


def main() -> None:
    arguments = parser().parse_args()
    try:
        given_answers = dict(answer(one) for one in arguments.answer)
        project = arguments.project.resolve()
        print("\n".join(link(project, arguments.url, arguments.version, given_answers)))
    except (CommandError, GitError) as error:
        raise SystemExit(str(error)) from None


def link(
    project: Path, address: str, version: str = "", given_answers: Mapping[str, str] | None = None
) -> list[str]:
    """Record a project's template, or make a branch with the template for a repository.

    Args:
        address: the template's repository, a URL or a folder.
        version: that the project was made from; "" for the one whose files it has.
        given_answers: answers that count more than what the project's files show.

    Returns:
        What came out, in lines.

    Raises:
        CommandError: the template is not reachable, or an answer is not possible.
    """
    folder = Path(address).expanduser()
    location = folder.resolve().as_posix() if folder.is_dir() else record.without_secret(address)
    with open_source(address, source.cache(project)) as template:
        recorded = _recorded(project)
        closest_commit, alike = closest(template, project)
        if recorded is None and alike < ALIKE:
            return foreign.bring(project, template, location, version, given_answers or {})
        if version:
            commit = template.resolve(version)
        elif recorded and recorded.commit and template.has(recorded.commit):
            commit = recorded.commit
        else:
            commit = closest_commit
        previous = recorded or record.Record(location, commit, None, {})
        questions = template.questions(commit)
        evident = {k: v for k, v in answers_of(project).items() if is_possible(questions, k, v)}
        answers = {**evident, **previous.answers, **(given_answers or {})}
        unknown = (given_answers or {}).keys() - questions.keys()
        if unknown:
            raise CommandError(f"the template asks no {sorted(unknown)[0]}: --answer NAME=VALUE")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            rendered = rendering(template, commit, answers, Path(temporary))
            files = contents(rendered.project)
        mine = contents(project, files)
        different = changes(files, mine)
        record.write(
            project,
            replace(
                previous,
                template=location,
                commit=commit,
                version=template.version(commit),
                answers=rendered.answers,
            ),
        )
    origin = f"{template.version(commit) or 'a version before 0.2.0'} ({commit[:10]}) of {location}"
    lines = [
        f"{record.FILE}: {origin}",
        f"{len(files) - len(different)} of its {len(files)} files are here as it renders them",
    ]
    answered = ", ".join(f"{k}={v or 'empty'}" for k, v in rendered.answers.items())
    return [*lines, f"answers: {answered}"]


def closest(template: Source, project: Path) -> tuple[str, int]:
    """Return the commit that most of a project's files are of, and how many those are.

    Where several commits are as close, it is the oldest: an update repeats what was changed since,
    and does not lose it.
    """
    package = package_of(project) or ""
    names: dict[str, str | None] = {}
    equal: set[str] = set()
    best: tuple[str, int] | None = None
    for commit, changed in template.history():
        for path, blob in changed.items():
            folder, _, inside = path.partition("/")
            if not folder.startswith("{{"):
                continue
            name = PACKAGE.sub(package, PLACEHOLDERS.sub("", inside))
            if name not in names:
                names[name] = _blob(project / name)
            equal.discard(path)
            if blob is not None and blob == names[name]:
                equal.add(path)
        if best is None or len(equal) > best[1]:
            best = (commit, len(equal))
    if best is None:
        raise CommandError(f"the template {template.shown} has no commit")
    return best


def is_possible(questions: Mapping[str, object], name: str, value: str) -> bool:
    """Whether a version asks a question, and offers an answer."""
    offered = questions.get(name)
    return offered is not None and (not isinstance(offered, list) or value in offered)


def answer(typed: str) -> tuple[str, str]:
    """Return name and value of `NAME=VALUE`."""
    name, separator, value = typed.partition("=")
    if not separator or not name.strip():
        raise CommandError(f"--answer {typed} is not NAME=VALUE")
    return name.strip(), value


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="template.link", description=__doc__)
    root.add_argument("url", help="the template's repository: a URL or a folder")
    root.add_argument("--version", default="", help="that the project was made from")
    root.add_argument("--answer", action="append", default=[], metavar="NAME=VALUE")
    root.add_argument("--project", type=Path, default=ROOT, help="its folder; default: this one")
    return root


def _recorded(project: Path) -> record.Record | None:
    """Return a project's record; None where there is none that can be read."""
    try:
        return record.read(project)
    except CommandError:
        return None


def _blob(path: Path) -> str | None:
    """Return Git's name of a file's content, with the line ends that Git keeps."""
    if not path.is_file():
        return None
    (content,) = contents(path.parent, [path.name]).values()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    main()
