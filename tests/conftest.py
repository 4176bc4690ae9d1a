"""Projects that the slow tests share; a test that changes one copies it first.

Tests run in several processes at once. Those of one module stay together, so that a fixture of the
module is made once; what more than one process needs is made once under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import chromium
from driving import PYTHON, Project, interpreter, set_up
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Modules whose tests share what only one of them may use at a time.
ENGINE = "docker"
# The groups that take longest are started first, or one process would end with them alone.
FIRST = (ENGINE, "test_project", "test_restore", "test_online", "test_start", "test_drift")

settings.register_profile("contributor", max_examples=30, deadline=None, database=None)
settings.register_profile("weekly", settings.get_profile("contributor"), max_examples=300)
settings.load_profile("contributor")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each slow test into the group that one process runs: long groups first, quick tests last.

    The quick ones, each by itself, fill the time until the last process has ended.
    """
    order = {}
    for item in items:
        slow = item.get_closest_marker("slow")
        group = ENGINE if item.get_closest_marker(ENGINE) else item.path.stem
        if slow:
            item.add_marker(pytest.mark.xdist_group(group))
        place = FIRST.index(group) if group in FIRST else len(FIRST)
        order[item] = place if slow else len(FIRST) + 1
    items.sort(key=lambda item: order[item])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def shared(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str, Callable[[Path], Project]], Project]:
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
def begun(shared: Callable[[str, Callable[[Path], Project]], Project]) -> Project:
    """A project after `inv setup`."""
    return shared("begun", set_up)


@pytest.fixture(scope="session")
def trained(shared: Callable[[str, Callable[[Path], Project]], Project], begun: Project) -> Project:
    """A project whose pipeline has run once, not yet committed."""

    def make(folder: Path) -> Project:
        project = begun.copy(folder)
        project.inv("train")
        return project

    return shared("trained", make)


@pytest.fixture(scope="session")
def trained_project(trained: Project) -> Path:
    """The folder of `trained`."""
    return trained.path


@pytest.fixture(scope="session")
def project_python() -> Path:
    """The interpreter with everything that a generated project needs."""
    return interpreter(PYTHON)
