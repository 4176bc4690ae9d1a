"""A branch that adds the template to a repository which was not made from it.

No file of the repository is overwritten, and its work tree is not touched. The branch merges HEAD
and a commit of the template's files alone: a plain `git merge` takes it, and later updates have a
common ancestor. Where both have a file, the repository's stays.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import CommandError, enumerated
from ..git import GitError
from . import record, three_way
from .evident import answers_of
from .ready import require_known
from .rendering import rendering
from .source import Source
from .three_way import Place, Tree

ENVIRONMENT = "pyproject.toml"  # merged by hand once; updates have to reach it
SHOWN = 8  # names in a line


def add_branch(
    project: Path, template: Source, address: str, version: str, given_answers: Mapping[str, str]
) -> list[str]:
    """Make the branch, and return what came out, in lines.

    Args:
        address: the template's, as the record will have it.
        version: of the template; "" for the newest one.

    Raises:
        CommandError: the repository has no commit, or has a folder workflow/.
    """
    place = three_way.at(project)
    head = place.commit("HEAD")
    if head is None:
        raise CommandError(f"{project} has no commit: git add --all, git commit, then try again")
    yours = three_way.tree_at(place, head)
    if any(path.startswith("workflow/") for path in yours):
        raise CommandError(
            f"{project} has a folder workflow/, which updates of the template would replace:"
            " rename yours first"
        )
    commit = template.resolve(version) if version else template.newest()
    require_known(template, commit, given_answers)
    label = template.version(commit) or commit[:10]
    branch = f"template-{label}"
    if place.commit(f"refs/heads/{branch}"):
        raise CommandError(f"the branch {branch} exists already: git merge {branch}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answers = {**_defaults(project, yours), **given_answers}
        rendered = rendering(template, commit, answers, Path(folder))
        theirs = three_way.tree_of(place, rendered.project)
    in_both = in_the_way(theirs, yours)
    new = record.Record(
        template=address,
        commit=commit,
        version=template.version(commit),
        answers=rendered.answers,
        skip=tuple(sorted(in_both - {ENVIRONMENT})),
    )
    theirs = three_way.with_content(place, theirs, record.FILE, record.text(new).encode())
    combined = {path: entry for path, entry in theirs.items() if path not in in_both} | yours
    _commit(place, branch, theirs, combined, head, f"Version {label} of the template")
    lines = [f"branch {branch}: {len(combined) - len(yours)} files of the template beside yours"]
    if in_both:
        examples = sorted(in_both)[:SHOWN]
        lines.append(f"in both, so yours stays: {enumerated(sorted(in_both), SHOWN)}")
        names = " ".join(sorted(in_both & {ENVIRONMENT}) or examples)
        lines.append(f"the template's: git diff HEAD {branch}^2 -- {names}")
    answered = ", ".join(f"{k}={v or 'empty'}" for k, v in rendered.answers.items())
    return [*lines, f"answers: {answered}", f"to merge it: git merge {branch}"]


def in_the_way(theirs: Tree, yours: Tree) -> set[str]:
    """Return the template's paths that files or folders of the repository are in the way of.

    Names that differ in case alone are one file on some systems.
    """
    files = {path.casefold() for path in yours}
    folders = {folder for path in files for folder in _around(path)}
    return {
        path
        for path in theirs
        if (name := path.casefold()) in files | folders or not files.isdisjoint(_around(name))
    }


def _defaults(project: Path, yours: Tree) -> dict[str, str]:
    """Return answers that fit a repository: what its files show, and names that are not taken."""
    answers = answers_of(project)
    slug = answers.get("project_slug") or project.name
    answers["project_slug"] = "-".join(filter(None, _words(slug)))[:40].strip("-")
    package = answers["project_slug"].replace("-", "_")
    top_names = {path.partition("/")[0] for path in yours}
    answers["package_name"] = f"{package[:37]}_ml" if package in top_names else package
    answers.setdefault("project_name", project.name)
    return answers


def _commit(
    place: Place, branch: str, theirs: Tree, combined: Tree, head: str, message: str
) -> None:
    """Commit the template's files alone, then the merge, and make the branch point to it."""
    top = Place(place.top, "", place.git_dir)
    alone = {f"{place.prefix}{path}": entry for path, entry in theirs.items()}
    try:
        root = place.git("commit-tree", three_way.write(top, alone), "-m", message).strip()
        parents = ("-p", head, "-p", root)
        tree = three_way.write(place, combined)
        merged = place.git("commit-tree", tree, *parents, "-m", f"{message}, beside ours").strip()
    except GitError as error:
        if "identity" in str(error) or "email" in str(error):
            raise CommandError(
                'Git knows no author: git config user.name "YOUR NAME", and'
                " git config user.email you@example.com"
            ) from None
        raise
    place.git("update-ref", "-m", message, f"refs/heads/{branch}", merged, "")


def _around(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:number]) for number in range(1, len(parts))]


def _words(name: str) -> list[str]:
    return "".join(c if c.isascii() and c.isalnum() else " " for c in name.lower()).split()
