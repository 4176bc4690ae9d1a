"""Record the template of a project that has no record, or add the template to a repository.

    python -m workflow.template.link URL [--version VERSION] [--answer NAME=VALUE] [--project PATH]

A project that was made from the template gets a record: the version that its files match, and the
answers that they show. Any other repository gets a branch with the template's files beside its own,
for its owner to merge.
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
from .options import LINK, named_values
from .ready import require_known
from .rendering import rendering
from .source import Source, open_source

# With so many files byte by byte as in a version, a project was made from the template.
ALIKE = 10
PACKAGE = re.compile(r"\{\{cookiecutter\.package_name\}\}")
PLACEHOLDERS = re.compile(r"\{\{cookiecutter\.__\w+\}\}|\{\{'|' if [^}]+\}\}")


def main() -> None:
    arguments = parser().parse_args()
    try:
        given_answers = named_values("--answer", arguments.answer)
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
        version: that the project was made from; "" for the one that its files match.
        given_answers: these take precedence over what the project's files show.

    Returns:
        The lines to print.

    Raises:
        CommandError: the template cannot be reached, or an answer is not possible.
    """
    given_answers = given_answers or {}
    folder = Path(address).expanduser()
    location = folder.resolve().as_posix() if folder.is_dir() else record.without_secret(address)
    with open_source(address, source.cache(project)) as template:
        recorded = _recorded(project)
        closest_commit, alike = closest(template, project)
        if recorded is None and alike < ALIKE:
            return foreign.add_branch(project, template, location, version, given_answers)
        if version:
            commit = template.resolve(version)
        elif recorded and recorded.commit and template.has(recorded.commit):
            commit = recorded.commit
        else:
            commit = closest_commit
        previous = recorded or record.Record(location, commit, None, {})
        require_known(template, commit, given_answers)
        questions = template.questions(commit)
        evident = {k: v for k, v in answers_of(project).items() if is_possible(questions, k, v)}
        answers = {**evident, **previous.answers, **given_answers}
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
        f"{len(files) - len(different)} of its {len(files)} files are unchanged here",
    ]
    answered = ", ".join(f"{k}={v or 'empty'}" for k, v in rendered.answers.items())
    return [*lines, f"answers: {answered}"]


def closest(template: Source, project: Path) -> tuple[str, int]:
    """Return the commit that most of a project's files match, and how many do.

    Of several that match equally well, the oldest: an update then repeats a change, and loses none.
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


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="template.link", description=__doc__)
    root.add_argument("url", help="the template's repository: a URL or a folder")
    root.add_argument("--version", default="", help=LINK["version"])
    root.add_argument("--answer", action="append", default=[], help=LINK["answer"])
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
