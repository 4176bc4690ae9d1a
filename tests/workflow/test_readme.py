"""README.md, AGENTS.md and docs/ against the truth: tree, tables, commands and links."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from my_ml_project import fetch
from workflow.cluster import settings
from workflow.config.compose import compose, expand
from workflow.paths import CONF, ROOT
from workflow.pipeline.apply import WRITTEN
from workflow.variables import rules

FILES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path: path.read_text(encoding="utf-8") for path in FILES}
# Below the project's description, which may hold any text.
PAGES[FILES[0]] = PAGES[FILES[0]].partition("\n## Start\n")[2]
TEXT = "\n".join(PAGES.values())
PACKAGE = Path(fetch.__file__).parent
# Not there before the first `inv train`.
BUILT = {"dvc.lock", "params.yaml", "runs/"}
TAKES_OVERRIDES = {"cluster.check", "train", "exp.queue", "sweep"}


def between(name: str) -> str:
    """What stands between the comments `name: begin` and `name: end`."""
    return TEXT.partition(f"<!-- {name}: begin -->\n")[2].partition(f"<!-- {name}: end -->")[0]


def rows(name: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = between(name).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code() -> list[str]:
    """Each line of code: those of the code blocks, and what is set as code in the text."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`(.+?)`", text)


def commands() -> list[list[str]]:
    """The words of each `inv` command, from the task's name on; `inv --list` and such are none."""
    lines = [shlex.split(line, comments=True) for line in code() if re.search(r"\binv\b", line)]
    after_inv = [words[words.index("inv") + 1 :] for words in lines if "inv" in words]
    return [words for words in after_inv if words and not words[0].startswith("-")]


def tracked_files(folder: Path) -> list[str]:
    """The files that Git tracks; before there is a repository, those that it would."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | settings

    def git(*arguments: str) -> list[str]:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        return [name for name in done.stdout.decode().split("\0") if name]

    if (ROOT / ".git").exists() and (tracked := git("ls-files", "-z")):
        return [name for name in tracked if (ROOT / name).exists()]
    git("init", "--quiet", "--bare", str(folder))
    repository = [f"--git-dir={folder}", f"--work-tree={ROOT}"]
    return git(*repository, "ls-files", "-z", "--others", "--exclude-standard")


@pytest.fixture(scope="module")
def tasks() -> dict[str, str]:
    """What `inv --list` says: the name of each task, and its one line."""
    listed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list", "--list-format=json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    everything = json.loads(listed.stdout)
    help_texts = {task["name"]: task["help"] for task in everything["tasks"]}
    for collection in everything["collections"]:
        for task in collection["tasks"]:
            name = f"{collection['name']}.{task['name']}"
            is_default = task["name"] == collection["default"]  # `inv sweep` is sweep.start
            help_texts[collection["name"] if is_default else name] = task["help"]
    return help_texts


def test_tree_is_what_is_there(tmp_path: Path, is_the_teams: Callable[[str], bool]) -> None:
    listed = [re.split(r"\s{2,}", line) for line in between("tree").splitlines()[1:-1]]
    top = {first for first, *_ in listed if first}
    modules = {second for first, second, *_ in listed if not first}
    names = {f"{a}/" if b else a for a, b, _ in (n.partition("/") for n in tracked_files(tmp_path))}
    both = (top - BUILT, names - BUILT)
    shown, there = ({name for name in paths if not is_the_teams(name)} for paths in both)
    assert shown == there
    assert names & BUILT <= top
    hidden = ("__init__.py", "__pycache__")
    inside = [path for path in PACKAGE.iterdir() if path.name not in hidden]
    assert modules == {f"{path.name}/" if path.is_dir() else path.name for path in inside}


def test_each_path_has_an_owner_and_each_page_a_link(is_the_teams: Callable[[str], bool]) -> None:
    owned = [name for cells in rows("owners") for name in re.findall(r"`(.+?)`", cells[0])]
    listed = [re.split(r"\s{2,}", line)[0] for line in between("tree").splitlines()[1:-1]]
    assert sorted(owned) == sorted(filter(None, listed))
    assert len(PAGES[FILES[0]].splitlines()) < 150
    linked = re.findall(r"\]\((docs/.+?)\)", PAGES[FILES[0]])
    both = (sorted(linked), [path.relative_to(ROOT).as_posix() for path in FILES[2:]])
    shown, there = ([page for page in pages if not is_the_teams(page)] for pages in both)
    assert shown == there


def test_table_of_tasks_is_what_inv_lists(tasks: dict[str, str]) -> None:
    assert {cells[0]: cells[1] for cells in rows("tasks")} == {
        f"`inv {name}`": line for name, line in tasks.items()
    }


def test_each_task_is_listed_on_one_line(tasks: dict[str, str]) -> None:
    assert {name: line for name, line in tasks.items() if len(line) > 62} == {}


def test_table_of_config_is_what_is_in_conf() -> None:
    shown = {cells[0].strip("`"): re.findall(r"`(.+?)`", cells[1]) for cells in rows("config")}
    folders = {path.name for path in (ROOT / CONF).iterdir() if path.is_dir()}
    assert set(shown) == folders - {"hydra"}
    for group, files in shown.items():
        paths = (ROOT / CONF / group).glob("*.yaml")
        there = {path.stem for path in paths if WRITTEN not in path.read_text(encoding="utf-8")}
        assert set(files) <= there if group == "callbacks" else set(files) == there, group


def test_table_of_variables_is_that_of_the_code() -> None:
    framework = compose([], ROOT / CONF).framework
    assert rows("variables") == [
        [", ".join(f"`{name}`" for name in rule.names), rule.effect, rule.why]
        for rule in rules(framework)
    ]


def test_each_command_is_a_task(tasks: dict[str, str]) -> None:
    named = {task for task, *_ in commands()}
    assert "train" in named
    assert named <= set(tasks)


def test_each_option_is_one_of_its_task() -> None:
    from tasks import namespace

    for task, *words in commands():
        typed = words[: words.index("--")] if "--" in words else words
        known = {flag for argument in namespace[task].get_arguments() for flag in argument.names}
        options = {word[2:] for word in typed if word.startswith("--")}
        assert options <= known, task


def test_each_override_composes() -> None:
    after_dashes = [
        words[words.index("--") + 1 :]
        for words in commands()
        if words[0] in TAKES_OVERRIDES and "--" in words
    ]
    alone = [[line] for line in code() if re.fullmatch(r"[~+]*[a-z][\w./]*=\S+", line)]
    assert len(after_dashes) > 5
    readers_own = (["group=file"], ["data=other"], ["experiment=NAME"])
    for typed in [*after_dashes, *alone]:
        asked, overrides = settings.split(typed)
        settings.compose(asked, ROOT / CONF)
        if overrides not in readers_own:
            for experiment in expand(overrides):
                compose(experiment, ROOT / CONF)


def test_each_path_and_link_is_there() -> None:
    links = [
        page.parent / link
        for page, text in PAGES.items()
        for link in re.findall(r"\]\((?!https?:|#)(.+?)\)", text)
    ]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "runs"}
    named = [line for line in code() if re.fullmatch(r"[\w.]+/[\w./]*", line)]
    named = [line for line in named if "NAME" not in line]  # the reader's own
    named = [line for line in named if line.partition("/")[0] in folders - {"wandb", ".dvc"}]
    assert links
    assert [path for path in [*links, *named] if not (ROOT / path).exists()] == []
