"""Push the branch of an update, and open a pull or merge request of it.

    python -m workflow.template.proposal [--project PATH]

`gh` opens it on GitHub, and options of the push on GitLab; for other hosts the branch is only
pushed. In CI, the variable TEMPLATE_UPDATE_TOKEN may hold a token for that, which is never an
argument of a command.
"""

import argparse
import os
import re
import shutil
from pathlib import Path

from .. import git
from ..errors import CommandError, one_line
from ..git import GitError
from ..paths import ROOT
from . import branches, pull_request, record, source
from .branches import PREFIX, REMOTE, Target
from .record import without_secret
from .source import open_source
from .update import notice

TOKEN = "TEMPLATE_UPDATE_TOKEN"
LIMIT = 50_000  # characters; GitHub takes 65 536
# What the hosts answer to a token that may not; not "Connection refused".
NO_ACCESS = re.compile(
    r"\b40[134]\b|authenticat|could not read (username|password)|credential|denied"
    r"|forbidden|not allowed|permi(ssion|tted)|protected|token|unauthorized",
    re.IGNORECASE,
)
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
        fetched = f"+refs/heads/{PREFIX}*:refs/remotes/{REMOTE}/{PREFIX}*"
        git.run(project, *options, "fetch", "--quiet", "--no-tags", "--prune", url, fetched)
        target = branches.target(project, branch)
        if not target.is_kept:
            ref = f"refs/heads/{target.branch}"
            push_options = gitlab_options(title) if host == "gitlab" else []
            lease = f"--force-with-lease={ref}:{target.tip}"
            git.run(project, *options, "push", *push_options, lease, url, f"HEAD:{ref}")
    except GitError as error:
        raise _refused(f"{branch} cannot be pushed", str(error), url, host) from None
    if host == "github" and shutil.which("gh"):
        return open_on_github(project, branch, target, title)
    if target.is_kept:
        return kept(branch, target)
    if host == "gitlab":
        return f"{pushed(branch, target)}, and its merge request is open"
    return f"{pushed(branch, target)}: open a pull request of it"


def kept(branch: str, target: Target) -> str:
    """Return the line for what is in origin and not replaced; GitHub shows it beside the run."""
    new = "" if branch == target.branch else f"{branch} is not pushed: the earlier "
    why = ", with commits of others" if target.has_others else ""
    stays = f"{target.branch} is in {REMOTE} already{why}, and stays as it is"
    return notice(f"{new}{stays}: merge or delete it there")


def pushed(branch: str, target: Target) -> str:
    """Return the beginning of a line; an earlier update's branch keeps its name."""
    if branch == target.branch:
        return f"{branch} is pushed"
    return f"{branch} is pushed as {target.branch}, the earlier update"


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


def open_on_github(project: Path, branch: str, target: Target, title: str) -> str:
    """Open a pull request, unless there is one, and return its URL in a line.

    Of what was in origin before, one request is enough, even if that was closed.

    Raises:
        CommandError: GitHub refused.
    """
    line = pushed(branch, target)
    try:
        request = pull_request.find(project, target.branch)
        if target.has_others or (target.is_kept and request):
            return f"{kept(branch, target)}{f' ({request.url})' if request else ''}"
        if request and request.is_open:
            pull_request.change(project, request.url, title, description(project))
            return f"{line}; its pull request: {request.url}"
        url = pull_request.create(project, target.branch, title, description(project))
    except CommandError as error:
        problem = f"{line}, but no pull request can be opened"
        raise _refused(problem, str(error), "", "github") from None
    return f"{line}, and its pull request is open: {url}"


def description(project: Path) -> str:
    """Return the changelog of an update, in Markdown."""
    new = record.read(project)
    old = next((one for one in branches.previous(project) if one.commit != new.commit), None)
    text = f"The template's version {new.version}"
    if old is None or not old.commit or not new.commit:
        return text
    text += f" ({new.commit[:10]}), after {old.version} ({old.commit[:10]}).\n\n"
    try:
        with open_source(new.template, source.cache(project)) as template:
            return (text + template.changelog(old.commit, new.commit))[:LIMIT]
    except (CommandError, GitError):  # the request is worth more than its text
        return text


def _refused(problem: str, reason: str, url: str, host: str) -> CommandError:
    detail = one_line(reason).replace(url, without_secret(url)) if url else one_line(reason)
    if "CI" in os.environ and host and NO_ACCESS.search(detail):
        return CommandError(
            f"{problem} ({detail}): the project's repository needs {SETTINGS[host]}"
        )
    return CommandError(f"{problem}: {detail}")


if __name__ == "__main__":
    main()
