"""Push the branch of an update, and open a pull or merge request of it.

    python -m workflow.template.proposal [--project PATH]

`gh` opens it on GitHub, and options of the push on GitLab; for other hosts the branch is only
pushed. In CI, the variable TEMPLATE_UPDATE_TOKEN may hold a token for that, which is never an
argument of a command.
"""

import argparse
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .. import git
from ..errors import CommandError, one_line
from ..git import GitError
from ..paths import ROOT
from . import pull_request, record, source
from .pull_request import REMOTE
from .record import Record, without_secret
from .source import open_source

PREFIX = "template-update-"  # how the branch of an update begins
TOKEN = "TEMPLATE_UPDATE_TOKEN"
LIMIT = 50_000  # characters; GitHub takes 65 536
# Git asks a helper for the credentials, which reads them from the environment.
HELPERS = {
    "github": "!gh auth git-credential",
    "gitlab": f'!f() {{ echo username=oauth2; echo "password=${TOKEN}"; }}; f',
}
SETTINGS = {
    "github": (
        f"a secret {TOKEN}, with a token that may write contents, pull requests and workflows"
        " (Settings > Secrets and variables > Actions), or, where the update changes no workflow,"
        " Settings > Actions > General > Allow GitHub Actions to create and approve pull requests"
    ),
    "gitlab": (
        f"a masked variable {TOKEN}, with a project access token that may write the repository"
        " (Settings > CI/CD > Variables)"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="template.proposal", description=__doc__)
    parser.add_argument("--project", type=Path, default=ROOT, help="its folder; default: this one")
    try:
        print(propose(parser.parse_args().project))
    except (CommandError, GitError) as error:
        raise SystemExit(str(error)) from None


def propose(project: Path) -> str:
    """Push the branch of an update that is checked out, and ask for its merge.

    Returns:
        The line to print.

    Raises:
        CommandError: the branch cannot be pushed or no request opened; the missing setting.
    """
    branch = git.text(project, "branch", "--show-current") or ""
    if not branch.startswith(PREFIX):
        return "nothing to propose: no branch of an update is checked out"
    url = git.text(project, "remote", "get-url", "--push", REMOTE)
    if url is None:
        raise CommandError(f"there is no remote {REMOTE} to push {branch} to: git remote add")
    host = host_of(project, url)
    if in_ci := "CI" in os.environ:
        url = without_secret(url)  # GitLab's own token in it may not push
    helpers = ["", HELPERS[host]] if in_ci and host else []  # "": none of the machine's own
    options = [word for helper in helpers for word in ("-c", f"credential.helper={helper}")]
    folder = (git.text(project, "rev-parse", "--show-prefix") or "").rstrip("/")
    suffix = f" {folder}" if folder else ""  # one of several projects of the repository
    title = f"Update{suffix} from the template: {record.read(project).version}"
    try:
        remote_tip = git.run(project, *options, "ls-remote", url, f"refs/heads/{branch}").split()
        is_kept = bool(remote_tip) and remote_tip[0].decode() != git.head(project)
        if not is_kept:
            push_options = gitlab_options(title) if host == "gitlab" else []
            git.run(project, *options, "push", *push_options, url, f"HEAD:refs/heads/{branch}")
    except GitError as error:
        raise _refused(f"{branch} cannot be pushed", str(error), url, host) from None
    if host == "github" and shutil.which("gh"):
        return open_on_github(project, branch, title, is_kept)
    if is_kept:
        return kept(branch)
    if host == "gitlab":
        return f"{branch} is pushed, and its merge request is open"
    return f"{branch} is pushed: open a pull request of it"


def kept(branch: str) -> str:
    return f"{branch} is in {REMOTE} already, and stays as it is: merge or delete it there"


def host_of(project: Path, url: str) -> str:
    """Return `github`, `gitlab`, or "" for another host, by the CI that runs or the URL."""
    if "GITHUB_ACTIONS" in os.environ:
        return "github"
    if "GITLAB_CI" in os.environ:
        return "gitlab"
    return next((host for host in HELPERS if host in url.partition("/")[2] or host in url), "")


def gitlab_options(title: str) -> list[str]:
    """Return the options of a push by which GitLab opens a merge request."""
    options = ["merge_request.create", f"merge_request.title={title}"]
    options.append("merge_request.remove_source_branch")
    if target := os.environ.get("CI_DEFAULT_BRANCH"):
        options.append(f"merge_request.target={target}")
    return [word for option in options for word in ("-o", option)]


def open_on_github(project: Path, branch: str, title: str, is_kept: bool) -> str:
    """Open a pull request, unless there is one, and return its URL in a line.

    Args:
        is_kept: the branch was there before, with other commits: one request of it is enough, even
            if that was closed.

    Raises:
        CommandError: GitHub refused.
    """
    try:
        request = pull_request.find(project, branch)
        if is_kept and request:
            return f"{kept(branch)} ({request.url})"
        if request and request.is_open:
            return f"{branch} is pushed; its pull request: {request.url}"
        url = pull_request.create(project, branch, title, description(project))
    except CommandError as error:
        problem = f"{branch} is pushed, but no pull request can be opened"
        raise _refused(problem, str(error), "", "github") from None
    return f"{branch} is pushed, and its pull request is open: {url}"


def description(project: Path) -> str:
    """Return the changelog of an update, in Markdown."""
    new = record.read(project)
    old = next((one for one in _records(project) if one.commit != new.commit), None)
    text = f"The template's version {new.version}"
    if old is None or not old.commit or not new.commit:
        return text
    text += f" ({new.commit[:10]}), after {old.version} ({old.commit[:10]}).\n\n"
    try:
        with open_source(new.template, source.cache(project)) as template:
            return (text + template.changelog(old.commit, new.commit))[:LIMIT]
    except (CommandError, GitError):  # the request is worth more than its text
        return text


def _records(project: Path) -> Iterator[Record]:
    """Yield the record as the last commits have it, the newest first."""
    for number in range(1, 20):
        content = git.ask(project, "show", f"HEAD~{number}:./{record.FILE}")
        if content is None:
            return
        yield record.parse(content.decode())


def _refused(problem: str, reason: str, url: str, host: str) -> CommandError:
    detail = one_line(reason).replace(url, without_secret(url)) if url else one_line(reason)
    if "CI" in os.environ and host:
        return CommandError(
            f"{problem} ({detail}): the project's repository needs {SETTINGS[host]}"
        )
    return CommandError(f"{problem}: {detail}")


if __name__ == "__main__":
    main()
