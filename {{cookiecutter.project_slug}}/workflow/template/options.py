"""The options of `inv template.update` and `inv template.link`, and of the template's own tasks.

    python -m workflow.template.update OPTION …

The template's tasks drive projects of versions that have neither.
"""

from collections.abc import Sequence

LINK = {
    "version": "that the project was made from; default: the one that its files are of",
    "answer": "NAME=VALUE, where the project does not say it; repeatable",
}
LINK_REPEATABLE = ["answer"]
UPDATE = {
    "to": "a version, tag or commit of the template; default: the newest",
    "answer": "NAME=VALUE, to a new question, or another answer; repeatable",
    "drop": "a managed file or folder whose edits are dropped; repeatable",
    "no_test": "without inv check and inv test of the project",
    "continue_": "after a conflict, or a check that failed",
    "abort": "as if nothing had happened",
}
SCHEDULED = "by CI: a template that only one machine has is a notice, and no error"
UPDATE_REPEATABLE = ["answer", "drop"]


def of_link(version: str, answer: Sequence[str] | None) -> list[str]:
    """Return the arguments of `workflow.template.link`, beside the URL."""
    return [*_valued("version", [version]), *_valued("answer", answer)]


def of_update(
    to: str,
    answer: Sequence[str] | None,
    drop: Sequence[str] | None,
    no_test: bool,
    continue_: bool,
    abort: bool,
) -> list[str]:
    """Return the arguments of `workflow.template.update`."""
    flags = {"--no-test": no_test, "--continue": continue_, "--abort": abort}
    valued = [*_valued("to", [to]), *_valued("answer", answer), *_valued("drop", drop)]
    return valued + [name for name, is_set in flags.items() if is_set]


def _valued(name: str, values: Sequence[str] | None) -> list[str]:
    return [f"--{name}={value}" for value in values or () if value]
