"""Projects that the slow tests share; a test that changes one copies it first."""

from pathlib import Path

import pytest
from driving import Project, interpreter, set_up

PYTHONS = ["3.11", "3.13"]


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
