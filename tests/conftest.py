"""Projects that the slow tests share; a test that changes one copies it first.

Tests run in several processes at once. Those of one module stay together, or those of one framework
in it, so that a fixture of the module is made once; what more than one process needs is made once
under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from baking import team
from browsing import chromium
from driving import FRAMEWORK, PYTHON, Project, interpreter, set_up
from engine import set_up_for_images
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Shared = Callable[[str, Callable[[Path], Project]], Project]

# Modules whose tests share what only one of them may use at a time.
ENGINE = "docker"
# The groups that take longest are started first, or one process would end with them alone.
FIRST = (
    ENGINE,
    "test_frameworks",
    "test_cluster",
    "test_project",
    "test_online",
    "test_start",
    "test_sync",
    "test_restore",
    "test_updates",
)

settings.register_profile("contributor", max_examples=30, deadline=None, database=None)
settings.register_profile("weekly", settings.get_profile("contributor"), max_examples=300)
settings.load_profile("contributor")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each slow test into the group that one process runs: long groups first, quick tests last.

    The quick ones fill the time until the last process has ended.
    """
    items[:] = [item for item in items if not is_left_out(item)]
    order = {}
    for item in items:
        slow = item.get_closest_marker("slow")
        group = group_of(item)
        if slow:
            item.add_marker(pytest.mark.xdist_group(group))
        name = group.partition("-")[0]
        place = FIRST.index(name) if name in FIRST else len(FIRST)
        order[item] = place if slow else len(FIRST) + 1
    items.sort(key=lambda item: order[item])


def is_left_out(item: pytest.Item) -> bool:
    """Whether a test is about what a fork's team does without."""
    about = item.get_closest_marker("about")
    return about is not None and about.args[0] in team().removed


def group_of(item: pytest.Item) -> str:
    """The tests of an engine, of a module, or of one framework in a module; or what is marked."""
    if item.get_closest_marker(ENGINE):
        return ENGINE
    if marked := item.get_closest_marker("xdist_group"):
        return str(marked.args[0])
    parameters = getattr(item, "callspec", None)
    framework = parameters and parameters.params.get("framework")
    return f"{item.path.stem}-{framework}" if framework else item.path.stem


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Shared:
    """Make a project once for all processes: `shared(name, make)` calls `make` in a new folder."""
    root = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        root = root.parent  # of this process alone

    def get(name: str, make: Callable[[Path], Project]) -> Project:
        folder, noted = root / f"shared-{name}", root / f"shared-{name}.path"
        with FileLock(root / f"shared-{name}.lock"):
            if not noted.exists():
                folder.mkdir()
                project = make(folder)
                lines = (project.python, project.framework, str(project.path))
                noted.write_text("\n".join(lines), encoding="utf-8")
        python, framework, path = noted.read_text(encoding="utf-8").split("\n")
        return Project(Path(path), python, framework)

    return get


@pytest.fixture(scope="session")
def begun_with(shared: Shared) -> Callable[[str], Project]:
    """A project of a framework after `inv setup`."""
    return lambda framework: shared(f"begun-{framework}", partial(set_up, framework=framework))


@pytest.fixture(scope="session")
def trained_with(shared: Shared, begun_with: Callable[[str], Project]) -> Callable[[str], Project]:
    """A project of a framework whose pipeline has run once, not yet committed."""

    def make(framework: str, folder: Path) -> Project:
        project = begun_with(framework).copy(folder)
        project.inv("train")
        return project

    return lambda framework: shared(f"trained-{framework}", partial(make, framework))


@pytest.fixture(scope="session")
def begun(begun_with: Callable[[str], Project]) -> Project:
    """A project of the default answers after `inv setup`."""
    return begun_with(FRAMEWORK)


@pytest.fixture(scope="session")
def trained(trained_with: Callable[[str], Project]) -> Project:
    """A project of the default answers whose pipeline has run once, not yet committed."""
    return trained_with(FRAMEWORK)


@pytest.fixture(scope="session")
def begun_sklearn(begun_with: Callable[[str], Project]) -> Project:
    """The same with scikit-learn: where no framework is tested, it trains faster."""
    return begun_with("scikit-learn")


@pytest.fixture(scope="session")
def trained_sklearn(trained_with: Callable[[str], Project]) -> Project:
    """Such a project whose pipeline has run once, not yet committed."""
    return trained_with("scikit-learn")


@pytest.fixture(scope="session")
def for_images(shared: Shared) -> Project:
    """A project called `image-tests` whose images build on the tests' base; none is built yet."""
    return shared("for-images", partial(set_up_for_images, project_name="Image Tests"))


@pytest.fixture(scope="session")
def trained_project(trained: Project) -> Path:
    """The folder of `trained`."""
    return trained.path


@pytest.fixture(scope="session")
def project_python() -> Path:
    """The interpreter with everything that a generated project needs."""
    return interpreter(PYTHON)
