"""The options of `inv template.update` and `inv template.link`, and of the template's own tasks.

    python -m workflow.template.update OPTION …

The template's own tasks run these on projects of versions that lack the commands.
"""

from collections.abc import Sequence

from ..errors import CommandError

LINK = {
    "version": "that the project was made from; default: the one that its files match",
    "answer": "NAME=VALUE, where the project's files do not show it; repeatable",
}
LINK_REPEATABLE = ["answer"]
UPDATE = {
    "to": "a version, tag or commit of the template; default: the newest",
    "answer": "NAME=VALUE: to a new question, or instead of the recorded one; repeatable",
    "drop": "a managed file or folder whose edits are dropped; repeatable",
    "no_test": "skip inv check and inv test of the project",
    "continue_": "resume after a conflict or a failed check",
    "abort": "restore the branch and the files as they were",
}
SCHEDULED = "by CI: a template that only one machine has is a notice, not an error"
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


def named_values(option: str, typed: Sequence[str]) -> dict[str, str]:
    """Return the values of an option that takes NAME=VALUE, by name.

    Raises:
        CommandError: one is not written so.
    """
    values = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise CommandError(f"{option} {text}: write it as NAME=VALUE")
        values[name.strip()] = value
    return values


def _valued(name: str, values: Sequence[str] | None) -> list[str]:
    return [f"--{name}={value}" for value in values or () if value]
