"""Projects that the slow tests share; a test that changes one copies it first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import chromium
from driving import Project, interpreter, set_up
from served import serving
from soaking import Soak

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PYTHONS = ["3.11", "3.13"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    """Each Python that projects are driven on."""
    return request.param


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """Trained projects by their Python, filled as tests ask for them."""
    return {}


@pytest.fixture(scope="session")
def trained(
    python: str, made: dict[str, Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A project on each Python whose pipeline has run once, untracked by Git as yet."""
    return _trained(python, made, tmp_path_factory)


@pytest.fixture(scope="session")
def trained_once(made: dict[str, Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same on one Python, for what does not depend on it."""
    return _trained(PYTHONS[0], made, tmp_path_factory)


@pytest.fixture(scope="session")
def trained_project(trained_once: Project) -> Path:
    """The folder of `trained_once`."""
    return trained_once.path


@pytest.fixture(scope="session")
def soak(trained_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    """A service that is asked for ten minutes."""
    with serving(trained_once.copy(tmp_path_factory.mktemp("soaked"))) as running:
        yield Soak(running)


@pytest.fixture(scope="session", autouse=True)
def soak_from_the_start(request: pytest.FixtureRequest) -> None:
    """Let all other tests run beside the soak, if a test looks at it: it is long and light."""
    if any("soak" in item.fixturenames for item in request.session.items):  # type: ignore[attr-defined]
        request.getfixturevalue("soak")


@pytest.fixture(scope="session")
def project_python() -> Path:
    """The interpreter with everything that a generated project needs."""
    return interpreter(PYTHONS[0])


def _trained(
    python: str, made: dict[str, Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    if python not in made:
        project = set_up(tmp_path_factory.mktemp(f"python-{python}"), python)
        project.inv("train")
        made[python] = project
    return made[python]
