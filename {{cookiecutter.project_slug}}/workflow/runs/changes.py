"""What a branch changes: metrics, parameters, data and config, against the branch that it is for.

    python -m workflow.runs.changes origin/main --markdown

Only Git is asked for the base: its metrics and parameters are in its commit, so that a clone
without a DVC remote, without history and without a branch of its own is enough.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import git
from ..deciding_metric import DecidingMetric
from ..dotted import flatten
from ..dvc_store import recorded
from ..dvc_store.objects import absent, made
from ..dvc_store.opening import open_repo
from ..errors import CommandError, shortened
from ..git import GitError
from ..paths import CONF, PARAMS, home
from ..results import metric_text, numbers
from ..tracking import provenance
from .experiments import METRICS_FILES, NONE, param_label, param_text

ROWS = 100  # of a table; a comment on GitHub may have 65,536 letters
WIDTH = 120  # of a value


@dataclass(frozen=True)
class State:
    """What a commit, or the folder, has of a training.

    Args:
        metrics: by name; of two files with one name, that of the evaluation.
        params: the composed config, by dotted name.
        data: path to DVC hash.
        metric: that decides, where the config names one.
    """

    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    data: Mapping[str, str]
    metric: DecidingMetric | None


@dataclass(frozen=True)
class Base:
    """The commit that a branch is compared with.

    Args:
        name: as it was asked for.
        is_common: whether the branch left from there; otherwise it is the base's newest commit.
    """

    name: str
    commit: str
    is_common: bool

    def __str__(self) -> str:
        note = "" if self.is_common else ", its newest: where they parted is not in this clone"
        return f"{self.name} ({self.commit[:7]}{note})"


@dataclass(frozen=True)
class Changes:
    """How the folder differs from its base.

    Args:
        files: of conf/ that differ.
        stale: stages whose results are not of the code, config and data that lie here.
        absent: data that is in no place this clone knows, for which no stage can run.
    """

    base: Base
    before: State
    now: State
    files: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, the one that decides first."""
        names = [*dict.fromkeys([*self.now.metrics, *self.before.metrics])]
        deciding = self.now.metric.name if self.now.metric else None
        return sorted(names, key=lambda name: name != deciding)

    @property
    def params(self) -> list[str]:
        return differing(self.before.params, self.now.params)

    @property
    def data(self) -> list[str]:
        return differing(self.before.data, self.now.data)

    @property
    def notes(self) -> list[str]:
        """What has to be known of the numbers."""
        notes = []
        if self.stale:
            stages = ", ".join(self.stale)
            notes.append(f"not run again since they changed, so their results are older: {stages}")
        if self.absent:
            notes.append(f"not here: {', '.join(self.absent)}")
        if not self.before.metrics:
            notes.append("the base has no metrics: nothing was trained and committed there")
        return notes

    def verdict(self, name: str) -> str:
        """Return the difference of a metric; of the one that decides, which is better."""
        before, now = self.before.metrics.get(name), self.now.metrics.get(name)
        if before is None or now is None:
            return NONE
        if before == now:
            return "="
        text = f"{now - before:+.4g}"
        if (metric := self.now.metric) and name == metric.name:
            text += ", better" if metric.best((before, now)) == now else ", worse"
        return text


def find(base: str) -> Changes:
    """Compare the folder with a base.

    Args:
        base: a Git revision, or REMOTE/BRANCH, which is fetched where it is not here.

    Raises:
        CommandError: there is no such base, or a file of it cannot be read.
    """
    against = resolve(base)
    listed = git.run(
        home(), "diff", "--name-only", "--relative", "-z", against.commit, "--", "conf"
    )
    repo = open_repo(home())
    try:
        stale = list(recorded.stale(repo))
        lacking = [path for path in absent(repo) if path not in made(repo)]
    except Exception as error:  # DVC has many; what is compared stands in Git
        raise CommandError(shortened(error)) from None
    files = [name for name in listed.decode().split("\0") if name]
    return Changes(against, at(against.commit), here(), files, stale, lacking)


def resolve(name: str) -> Base:
    """Return the commit at which the current branch left a base.

    Raises:
        CommandError: there is no such base, here or in the remote.
    """
    if git.head(home()) is None:
        raise CommandError("no commit yet: git add --all && git commit -m 'Start'")
    commit = _commit(name) or _fetch(name)
    common = git.text(home(), "merge-base", "HEAD", commit)
    return Base(name, common or commit, bool(common))


def at(commit: str) -> State:
    """Return what a commit has of the last training before it."""
    texts = {path: _show(commit, path) for path in (*METRICS_FILES, PARAMS)}
    return _state(texts, provenance.data_in(provenance.outs_at(commit)))


def here() -> State:
    """Return what the folder has of the last training."""
    files = {path: home() / path for path in (*METRICS_FILES, PARAMS)}
    texts = {p: f.read_text(encoding="utf-8") if f.exists() else None for p, f in files.items()}
    return _state(texts, provenance.data_hashes())


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ, or that only one has."""
    missing = object()
    return [
        name
        for name in dict.fromkeys([*before, *now])
        if _typed(before.get(name, missing)) != _typed(now.get(name, missing))
    ]


def markdown(changes: Changes) -> str:
    """Return the changes as a page of Markdown, for a pull request."""
    folder = (git.text(home(), "rev-parse", "--show-prefix") or "").rstrip("/")
    where = f" in {_escaped(folder)}" if folder else ""  # one of several projects
    lines = [f"### What this changes{where}, against {_escaped(str(changes.base))}", ""]
    lines += [f"> {_escaped(note)}" for note in changes.notes]
    if changes.metrics:
        lines += ["", "| metric | base | here | |", "|---|---:|---:|---|"]
        for name in changes.metrics[:ROWS]:
            cells = (_code(name), *_values(changes, name), changes.verdict(name))
            lines.append(f"| {' | '.join(cells)} |")
    for title, names, values in (
        ("parameter", changes.params, (changes.before.params, changes.now.params)),
        ("data", changes.data, (changes.before.data, changes.now.data)),
    ):
        lines += ["", f"| {title} | base | here |", "|---|---|---|"] if names else []
        for name in names[:ROWS]:
            texts = (param_label(name), *(param_text(dict(one), name) for one in values))
            lines.append(f"| {' | '.join(map(_code, texts))} |")
        if more := len(names) - ROWS:
            lines += [f"| and {more} more | | |"] if more > 0 else []
    if not changes.params and not changes.data:
        lines += ["", "No parameter and no data differs."]
    if changes.files:
        listed = ", ".join(map(_code, changes.files[:ROWS]))
        lines += ["", f"Files of {CONF}/ that differ: {listed}"]
    return "\n".join(lines) + "\n"


def tables(changes: Changes) -> list[Table]:
    """Draw the changes for a terminal."""
    metrics = [(name, *_values(changes, name), changes.verdict(name)) for name in changes.metrics]
    candidates = [_table(("metric", "base", "here", ""), metrics)]
    for title, names, values in (
        ("parameter", changes.params, (changes.before.params, changes.now.params)),
        ("data", changes.data, (changes.before.data, changes.now.data)),
    ):
        rows = [(param_label(n), *(param_text(dict(one), n) for one in values)) for n in names]
        candidates.append(_table((title, "base", "here"), rows))
    return [table for table in candidates if table.row_count]


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what a branch changes.")
    parser.add_argument("base", help="a Git revision, or REMOTE/BRANCH")
    parser.add_argument("--markdown", action="store_true", help="as a page of Markdown")
    arguments = parser.parse_args()
    try:
        changes = find(arguments.base)
    except (CommandError, GitError) as error:
        raise SystemExit(f"compare: {error}") from None
    if arguments.markdown:
        print(markdown(changes), end="")
        return
    console = Console(highlight=False)
    console.width = max(console.width, 100)  # narrower, rich would leave columns out
    console.print(Text(f"against {changes.base}"))
    for note in changes.notes:
        console.print(Text(note))
    console.print(*tables(changes), sep="\n\n")
    if not changes.params and not changes.data:
        print("no parameter and no data differs")
    print("next: inv report, git push")


def _commit(name: str) -> str | None:
    return git.text(
        home(), "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}"
    )


def _fetch(name: str) -> str:
    """Fetch REMOTE/BRANCH, and return its commit.

    Raises:
        CommandError: it is not written so, or the remote does not give it.
    """
    remote, _, branch = name.partition("/")
    if not branch or remote not in (git.text(home(), "remote") or "").split():
        where = f", and there is no remote {remote}" if branch else ""
        raise CommandError(f"{name!r} is no commit, branch or tag here{where}: git fetch")
    # A clone that has its history keeps it: `--depth` would cut it off.
    shallow = git.text(home(), "rev-parse", "--is-shallow-repository") == "true"
    reference = f"refs/remotes/{remote}/{branch}"
    try:
        git.run(
            home(),
            *("fetch", "--quiet", "--no-tags", *(["--depth=1"] if shallow else [])),
            *(remote, f"+refs/heads/{branch}:{reference}"),
            variables={"GIT_TERMINAL_PROMPT": "0"},
        )
    except GitError as error:
        raise CommandError(f"{name} is not in this clone, and {error}") from None
    return str(_commit(reference))


def _show(commit: str, path: Path) -> str | None:
    return git.text(home(), "show", f"{commit}:./{path.as_posix()}")


def _state(texts: Mapping[Path, str | None], data: Mapping[str, str]) -> State:
    metrics: dict[str, float] = {}
    config: dict[str, Any] = {}
    for path, text in texts.items():
        try:
            if path == PARAMS:
                config = yaml.safe_load(text or "") or {}
            else:
                metrics = {**numbers(json.loads(text or "{}")), **metrics}
        except (yaml.YAMLError, ValueError) as error:
            raise CommandError(f"{path.as_posix()} cannot be read: {shortened(error)}") from None
    return State(metrics, flatten(config), data, DecidingMetric.of(config))


def _typed(value: Any) -> tuple[type, Any]:
    """Return a value that compares: 1 is not true."""
    return type(value), value


def _values(changes: Changes, name: str) -> tuple[str, str]:
    before, now = changes.before.metrics.get(name), changes.now.metrics.get(name)
    return metric_text(before), metric_text(now)


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    grid = Table(box=None, header_style="bold")
    for title in titles:
        grid.add_column(title, overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _code(text: str) -> str:
    """Return a text as Markdown shows it, letter by letter, in a cell of a table."""
    one_line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{one_line[:WIDTH]}`" if one_line else ""


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_<>[]|#@" else letter for letter in text)


if __name__ == "__main__":
    main()
