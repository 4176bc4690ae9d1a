"""Where code is: which commit in this repository, on which branch."""

from ... import git
from ...errors import enumerated
from ...paths import ROOT
from ...tracking import patch
from ..finding import COMMIT, RecordedRun
from .subjects import Git

FORM = "--format=%h %s, %cs"
REFS = ("refs/heads", "refs/tags", "refs/remotes")
# Without a remote's HEAD, which is a name of a branch that is there anyway.
NAMES = "--format=%(if)%(symref)%(then)%(else)%(refname:short)%(end)"


def commit(name: str | None) -> str:
    """Return what a commit is, and what contains it; or why this is not known."""
    if not name or not COMMIT.fullmatch(name):
        return "not known: it was made outside of Git"
    about = _git("log", "-1", "--no-show-signature", FORM, name)
    if not about:
        return f"{name[:12]}, not in this repository: git fetch, from where it was made"
    refs = [ref for ref in _git("for-each-ref", f"--contains={name}", NAMES, *REFS) if ref]
    return f"{about[0]}, {f'on {enumerated(refs, 3)}' if refs else 'on no branch and in no tag'}"


def changes(git: Git, recorded: RecordedRun | None) -> str | None:
    """Return what was not committed; None where nothing was."""
    if not (git.patch or git.dirty or git.left_out):
        return None
    if recorded and recorded.changes:
        files = patch.files(recorded.changes)
        lacks = f", but not {enumerated(git.left_out, 5)}" if git.left_out else ""
        return f"{enumerated(files, 5)}, not committed; {patch.FILE} of the run has it{lacks}"
    if git.patch and not recorded:
        return f"not known: they are in {patch.FILE} of the run, which cannot be read here"
    if git.left_out and not git.patch:
        return f"not known: not committed, and not kept with the run: {enumerated(git.left_out, 5)}"
    return "not known: they were not committed, and not kept with the run"


def _git(*arguments: str) -> list[str]:
    return (git.ask(ROOT, *arguments) or b"").decode(errors="replace").splitlines()
