"""What the host of a clone's origin is asked, by its own command: `gh` of GitHub, `glab` of GitLab.

The command knows the host's API and has the user's token.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from workflow.errors import CommandError
from workflow.template import pull_request
from workflow.template.pull_request import run

# By what is in the host's name.
COMMANDS = {"github": "gh", "gitlab": "glab"}
GOOD = ("success", "skipped", "neutral")


def command_for(address: str) -> str:
    """Return the command that knows an address's host and is installed; "" for none."""
    host = re.sub(r"^\w+://([^/@]*@)?|^[^/@]+@", "", address).partition("/")[0].partition(":")[0]
    known = [command for part, command in COMMANDS.items() if part in host]
    return next(filter(shutil.which, known), "")


def checks(clone: Path, command: str, branch: str, commit: str) -> str:
    """Return how the checks of a branch's commit ended: success, failure, or another word.

    Returns:
        "" where there were none, or the host does not say.
    """
    try:
        if command == "gh":
            fields = "--json=headSha,status,conclusion"
            runs = json.loads(run(clone, "gh", "run", "list", f"--branch={branch}", fields))
            ends = [one["conclusion"] or one["status"] for one in runs if one["headSha"] == commit]
            return next((end for end in ends if end not in GOOD), "success" if ends else "")
        if command == "glab":
            newest = (f"--sha={commit}", "--per-page=1", "--output=json")
            runs = json.loads(run(clone, "glab", "ci", "list", *newest))
            return str(runs[0]["status"]) if runs else ""
    except CommandError:
        pass
    return ""


def find_request(clone: Path, command: str, branch: str) -> str:
    """Return the address of a branch's open pull or merge request; "" if there is none.

    Raises:
        CommandError: the host does not answer, or refuses.
    """
    if command == "gh":
        request = pull_request.find(clone, branch)
        return request.url if request and request.is_open else ""
    listed = run(clone, "glab", "mr", "list", f"--source-branch={branch}", "--output=json")
    return next((str(entry["web_url"]) for entry in json.loads(listed)), "")


def open_request(clone: Path, command: str, branch: str, title: str, text: str, base: str) -> str:
    """Open a pull or merge request of a branch that is pushed, and return its address.

    Raises:
        CommandError: the host refuses.
    """
    if command == "gh":
        return pull_request.create(clone, branch, title, text, base)
    branches = (f"--source-branch={branch}", f"--target-branch={base}")
    words = (f"--title={title}", f"--description={text}", "--yes")
    return run(clone, "glab", "mr", "create", *branches, *words).split()[-1]


def change_request(clone: Path, command: str, url: str, title: str, text: str) -> None:
    """Give a pull or merge request another title and text.

    Raises:
        CommandError: the host refuses.
    """
    if command == "gh":
        return pull_request.change(clone, url, title, text)
    words = (f"--title={title}", f"--description={text}")
    run(clone, "glab", "mr", "update", url.rpartition("/")[2], *words)
    return None
