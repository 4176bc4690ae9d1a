"""Tests, checks, notebooks."""

from invoke import Context, task

from .shell import follows, overrides, run, run_module, run_uv


@task
def test(context: Context) -> None:
    """Run the tests. Pytest's own arguments after `--`."""
    run("pytest", *overrides())


@task(help={"fix": "fix what can be fixed, and write stages' code to dvc.yaml, conf/schema.json"})
def check(context: Context, fix: bool = False) -> None:
    """Lint; check format, types, imports, schema and dependencies."""
    run_module("stage_code", *(["--fix"] if fix else []))
    run("ruff", "check", *(["--fix"] if fix else []))
    run("ruff", "format", *([] if fix else ["--check"]))
    run_module("config.json_schema", *([] if fix else ["--check"]))
    run("mypy")
    run("lint-imports", "--no-cache", "--no-logo")
    run("deptry", ".")
    follows("inv test", "git commit")


@task
def notebook(context: Context) -> None:
    """Open the notebooks in JupyterLab."""
    run_uv("run", "--group", "notebook", "jupyter", "lab", "notebooks")
