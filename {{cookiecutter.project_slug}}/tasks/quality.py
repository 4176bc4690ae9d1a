"""Tests, checks, notebooks."""

from invoke import Context, task

from .shell import overrides, run, uv


@task
def test(context: Context) -> None:
    """Run the tests. Pytest's own arguments after `--`."""
    run("pytest", *overrides())


@task(help={"fix": "mend what can be mended"})
def check(context: Context, fix: bool = False) -> None:
    """Lint, check the format, types and declared dependencies."""
    run("ruff", "check", *(["--fix"] if fix else []))
    run("ruff", "format", *([] if fix else ["--check"]))
    run("mypy")
    run("deptry", ".")


@task
def notebook(context: Context) -> None:
    """Open the notebooks in JupyterLab."""
    run(uv(), "run", "--group", "notebook", "jupyter", "lab", "notebooks")
