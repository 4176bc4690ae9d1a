"""Every file of conf/ composes, also one that was added today."""

import pytest

from workflow.config.compose import compose
from workflow.paths import CONF, ROOT

OPTIONS = sorted(
    f"{path.parent.relative_to(ROOT / CONF).as_posix()}={path.stem}"
    for path in (ROOT / CONF).glob("*/*.yaml")
    # Not part of a training: what serves, searches, or asks for a job of a cluster.
    if path.parent.name not in ("cluster", "resources", "search", "serving")
{%- if cookiecutter.__backend not in ("", "jax") %}
    and path != ROOT / CONF / "trainer/tpu.yaml"  # which is for backend=jax
{%- endif %}
)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_composes(option: str) -> None:
    compose([option], ROOT / CONF)
