"""The extras of pyproject.toml that the environment of a project has.

They are the client of the DVC remote and the backend of Keras. Run as a command, it prints them as
options of uv.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import yaml

from .dvc_store import remote
from .errors import CommandError, one_line
from .paths import CONF, ROOT

CONFIG = CONF / "config.yaml"


def needed(folder: Path = ROOT, config: Path = CONFIG, cuda: bool = False) -> list[str]:
    """Return the extras that a project needs.

    Args:
        config: the file in its folder that names the backend.
        cuda: the backend with CUDA, where that is an extra of its own.

    Raises:
        CommandError: the config cannot be read, or names what is no extra.
    """
    names = [remote.extra(folder)]
    if name := backend(folder / config):
        extras = _declared(folder / "pyproject.toml")
        if name not in extras:
            kinds = "Keras has jax, tensorflow and torch"
            problem = f"backend: pyproject.toml has no extra `{name}`: {kinds}"
            raise CommandError(f"{config.as_posix()}: {problem}")
        names.append(f"{name}-cuda" if cuda and f"{name}-cuda" in extras else name)
    return [name for name in names if name]


def backend(config: Path) -> str:
    """Return the backend of Keras that a config names; "" where it names none.

    Raises:
        CommandError: the config cannot be read.
    """
    if not config.exists():
        return ""
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"{config} cannot be read: {one_line(error)}") from None
    name = settings.get("backend") if isinstance(settings, dict) else None
    return str(name or "")


def options(extras: Iterable[str]) -> list[str]:
    """Return extras as `uv sync` and `uv run` take them."""
    return [part for name in extras for part in ("--extra", name)]


def _declared(pyproject: Path) -> dict[str, list[str]]:
    table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    extras: dict[str, list[str]] = table["project"].get("optional-dependencies", {})
    return extras


def main() -> None:
    try:
        print(*options(needed()))
    except CommandError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
