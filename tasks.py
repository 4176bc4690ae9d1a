"""The template's own commands: `inv --list`."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from invoke import Collection, Context, Exit, Task, task

from fork import projects, upstream
from fork.copying import copy_template
from fork.tasks import fleet_tasks, fork_tasks, merge_upstream
from fork.team import FILES, FOLDER

ROOT = Path(__file__).resolve().parent
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
WORKFLOW_TESTS = "tests/workflow"
TEAM_TESTS = "team/tests"  # in a fork
# Of each answer to `framework`: how the names of its own files begin, in the template.
FRAMEWORKS = {
    "pytorch": "{{cookiecutter.__pytorch}}",
    "keras-jax": "{{cookiecutter.__keras}}",
    "keras-tensorflow": "{{cookiecutter.__keras}}",
    "keras-torch": "{{cookiecutter.__keras}}",
    "scikit-learn": "{{cookiecutter.__sklearn}}",
}
ONE_OF_EACH = {mark: framework for framework, mark in reversed(FRAMEWORKS.items())}
# Of each framework: its tests that run on a new project, in the environment of such projects.
PROJECT_TESTS = {
    "pytorch": (WORKFLOW_TESTS,),
    "keras-jax": ("tests/frameworks/keras", f"{WORKFLOW_TESTS}/test_readme.py"),
    "keras-tensorflow": ("tests/frameworks/keras",),
    "scikit-learn": ("tests/frameworks/scikit_learn", f"{WORKFLOW_TESTS}/test_readme.py"),
}
QUICK = ("pytorch", "scikit-learn")  # those that are tested without --everything
WEEKLY = ("keras-tensorflow",)  # those that are tested with --weekly alone
# Of those projects: answers that the tests know by heart, where a fork's team has others.
KNOWN = {"ci": "github", "dvc_remote": "local", "template_updates": "weekly"}
SHADOWED = re.compile(r"(# shadowed names: begin[^\n]*\n).*(# shadowed names: end)", re.DOTALL)


@task(help={"folder": "where the project is made"})
def demo(context: Context, folder: str = "demo") -> None:
    """Make a project, set it up and train its model: from nothing to a result."""
    target = Path(folder).resolve()
    if target.exists():
        raise Exit(f"{target} exists: choose another with --folder, or remove it")
    generate(target, project_name=target.name.replace("-", " ").title())
    for command in ("setup", "train", "report"):
        run("uv", "run", "inv", command, folder=target)
    metrics = json.loads((target / "reports" / "metrics.json").read_text("utf-8"))
    (first_run, *_) = sorted((target / "wandb").glob("*run-*"))
    print(
        f"""
test accuracy  {metrics["accuracy"]:.4f}
model          {target / "models" / "model.onnx"}
report         {target / "reports" / "report.html"}
W&B run        {first_run} (offline: inv wandb.sync uploads it)

Next:
    cd {os.path.relpath(target)}
    uv run inv --list
    git add --all
    git commit -m "First result"                an experiment replaces a result that no commit has
    uv run inv train -- trainer.max_epochs=3    an experiment
    uv run inv compare                          both in a table
"""
    )


@task(
    help={
        "everything": "the slow tests too: real installs, servers, browser",
        "weekly": "those too that take too long for every change",
    }
)
def test(context: Context, everything: bool = False, weekly: bool = False) -> None:
    """Run the tests: on projects, then of the template. Pytest's own arguments after `--`."""
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    paths = [text for text in arguments if text.startswith(("tests", TEAM_TESTS))]
    rest = [text for text in arguments if text not in paths]
    slow = everything or weekly
    cores = os.cpu_count() or 1
    options = ["--durations=20", "-m", "" if weekly else "not weekly"] if slow else []
    for framework, folders in PROJECT_TESTS.items():
        matching = [path for path in paths if path.startswith(folders[0])]
        if matching:
            run_on_project(framework, f"--numprocesses={cores}", *options, *rest, *matching)
            return
    left_out = () if weekly else WEEKLY if slow else set(PROJECT_TESTS) - set(QUICK)
    suites = [
        (framework, folder)  # one by one: each folder has a conftest.py of its own
        for framework, folders in PROJECT_TESTS.items()
        for folder in folders
        if not paths and framework not in left_out
    ]
    # Slow tests wait for servers much of the time: one process more than there are processors, and
    # beside them the tests on projects, which compute.
    command = ["pytest", f"--numprocesses={cores + slow}", "--dist=loadgroup", *options]
    if slow:
        command = ["uv", "run", "--group", "servers", *command, "--no-loadscope-reorder"]
    if weekly:
        command += ["--hypothesis-profile=weekly"]
    if slow and suites:
        few = f"--numprocesses={max(1, cores // 2)}"
        with tested_beside(suites, few, *options, *rest):
            run(*command, *arguments)
    else:
        for framework, folder in suites:
            run_on_project(framework, f"--numprocesses={cores}", *rest, folder)
        if not any(path.startswith(TEAM_TESTS) for path in paths):
            run(*command, *arguments)
    team_paths = [path for path in paths if path.startswith(TEAM_TESTS)]
    if team_paths or ((ROOT / TEAM_TESTS).is_dir() and not paths):
        run("pytest", "--override-ini=pythonpath=. tests", *rest, *(team_paths or [TEAM_TESTS]))


@task(help={"fix": "fix what can be fixed"})
def check(context: Context, fix: bool = False) -> None:
    """Lint, check format, types, imports and schema: of the template, of a project of each kind."""
    if reason := upstream.stale(ROOT):
        raise Exit(reason)
    run("ruff", "check", *(["--fix"] if fix else []))
    run("ruff", "format", *([] if fix else ["--check"]))
    run("mypy")
    for mark, framework in ONE_OF_EACH.items():
        with new_project(framework) as project:
            commands = (
                ("ruff", "check", "--no-cache", "."),
                ("ruff", "format", "--no-cache", "--check", "."),
                ("python", "-m", "workflow.stage_code"),
                ("lint-imports", "--no-cache", "--no-logo"),
                ("python", "-m", "workflow.config.json_schema", *([] if fix else ["--check"])),
            )
            for command in commands:
                run_in_project(project, framework, *command, inside=True)
            text = (project / "conf" / "schema.json").read_text("utf-8")
        text = text.replace('"my_ml_project.', '"{{ cookiecutter.package_name }}.')
        write(PROJECT / "conf" / f"{mark}schema.json", text)


@task(help={"upgrade": "take the newest versions that pyproject.toml allows"})
def lock(context: Context, upgrade: bool = False) -> None:
    """Lock the versions that every generated project starts from, for each framework."""
    names: set[str] = set()
    is_fork = (ROOT / FOLDER).is_dir()
    for mark, framework in ONE_OF_EACH.items():
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / "locked-project"
            template = copy_template(ROOT, Path(folder) / "template", is_open=True)
            generate(project, template, project_name="locked project", framework=framework)
            run("uv", "lock", *(["--upgrade"] if upgrade else []), folder=project)
            text = (project / "uv.lock").read_text("utf-8")
            # The backends of Keras have a lock in common, and modules of their own. The names are
            # upstream's: a fork has the same packages, of another index.
            for name in FRAMEWORKS if not is_fork else ():
                if FRAMEWORKS[name] == mark:
                    run("uv", "sync", "--all-groups", *extras(name), folder=project)
                    names |= shadowed_names(project, text)
        text = text.replace('"locked-project"', '"{{ cookiecutter.project_slug }}"')
        # A fork's own locks are laid over upstream's, of another index.
        write((ROOT / FILES if is_fork else PROJECT) / f"{mark}uv.lock", text)
    if is_fork:
        upstream.lay_again(ROOT)
        return
    hook = ROOT / "hooks" / "pre_gen_project.py"
    block = f'SHADOWED = """\n{in_lines(names)}\n""".split()\n'
    write(hook, SHADOWED.sub(rf"\g<1>{block}\g<2>", hook.read_text("utf-8")))


@task(
    help={
        "images": "the images instead, on a Docker Engine",
        "serving": "the model service instead, beside other servers",
        "frameworks": "what each framework costs instead",
        "updates": "updates of projects instead",
        "gpu": "training on a GPU instead",
        "sweeps": "what a trial of a sweep costs beyond its training instead",
        "stream": "data that does not fit in memory instead",
    }
)
def bench(
    context: Context,
    images: bool = False,
    serving: bool = False,
    frameworks: bool = False,
    updates: bool = False,
    gpu: bool = False,
    sweeps: bool = False,
    stream: bool = False,
) -> None:
    """Measure what benchmarks/README.md shows, and write its table."""
    scripts = {
        "images": images,
        "serving": serving,
        "frameworks": frameworks,
        "updates": updates,
        "gpu": gpu,
        "sweeps": sweeps,
        "stream": stream,
    }
    script = next((name for name, is_chosen in scripts.items() if is_chosen), "measure")
    run(sys.executable, f"benchmarks/{script}.py")


def generate(target: Path, template: Path = ROOT, /, **answers: str) -> None:
    """Make a project from this template at `target`."""
    from cookiecutter.main import cookiecutter

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        project = cookiecutter(
            str(template),
            no_input=True,
            output_dir=folder,
            extra_context=answers,
            default_config=True,
        )
        shutil.move(project, target)


@contextmanager
def tested_beside(suites: list[tuple[str, str]], *options: str) -> Iterator[None]:
    """Run tests on projects, one suite after the other, while something else runs.

    What they print is shown in the end, and then the first suite that failed ends the task.

    Args:
        suites: a framework and a folder of tests each.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output, ThreadPoolExecutor(1) as thread:
        runs = [
            thread.submit(run_on_project, framework, *options, folder, output=output)
            for framework, folder in suites
        ]
        try:
            yield
        except KeyboardInterrupt:
            thread.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            wait(runs)
            output.seek(0)
            print(output.read(), flush=True)
        for finished in runs:
            finished.result()


def run_on_project(framework: str, *options: str, output: IO[str] | None = None) -> None:
    """Run tests on a new project of a framework, in the environment of such projects."""
    tools = ("--with=pytest-xdist", "--with=filelock")
    command = ("pytest", f"--config-file={WORKFLOW_TESTS}/pytest.ini", "--dist=loadfile")
    with new_project(framework, **KNOWN) as project:
        run_in_project(project, framework, *command, *options, tools=tools, output=output)


@contextmanager
def new_project(framework: str, **answers: str) -> Iterator[Path]:
    """Make a project that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder).resolve() / "my-ml-project"
        template = copy_template(ROOT, Path(folder) / "template", is_open=True)
        generate(project, template, framework=framework, **answers)
        subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
        yield project


def run_in_project(
    project: Path,
    framework: str,
    *command: str,
    tools: tuple[str, ...] = (),
    inside: bool = False,
    output: IO[str] | None = None,
) -> None:
    """Run a command on a project, in the environment that projects of its framework share.

    Args:
        tools: options of `uv run` for what that environment lacks.
        inside: in the project's folder; else in this one, from where the project is imported.
        output: where what it prints is written, instead of being shown.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    uv = ["uv", "run", "--project", str(project), "--locked", "--all-groups", *extras(framework)]
    variables = {
        "PYTHONPATH": str(project),
        "UV_PROJECT_ENVIRONMENT": str(ROOT / "build" / f"environment-{framework}-{python}"),
        "UV_PYTHON": python,
    }
    folder = project if inside else ROOT
    run(*uv, *tools, *command, folder=folder, variables=variables, output=output)


def extras(framework: str) -> list[str]:
    """Return the options of uv beside `--all-groups` for a framework's projects.

    Of the backends of Keras, an environment has its own; of the builds of onnxruntime, one.
    """
    backends = [name.removeprefix("keras-") for name in FRAMEWORKS if name.startswith("keras-")]
    others = [name for name in backends if framework != f"keras-{name}"]
    left_out = [*others, "jax-cuda", "tensorflow-cuda"] if framework.startswith("keras-") else []
    return ["--all-extras", "--no-group=serve-gpu", *(f"--no-extra={name}" for name in left_out)]


def run(
    *command: str,
    folder: Path = ROOT,
    variables: dict[str, str] | None = None,
    output: IO[str] | None = None,
) -> None:
    """Show a command and run it in `folder`; end the task if it fails.

    Args:
        output: where the command and what it prints are written, instead of being shown.
    """
    print(f"$ {' '.join(command)}", file=output, flush=True)
    environment = {**os.environ, **(variables or {})}
    if folder != ROOT or variables:
        environment.pop("VIRTUAL_ENV", None)  # uv makes the other project an environment of its own
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        check=False,
    )
    if result.returncode:
        raise Exit(code=result.returncode)


def shadowed_names(project: Path, locked: str) -> set[str]:
    """Return the names that a package may not have: every locked distribution and its modules."""
    distributions = re.findall(r'^name = "(.+)"$', locked, re.MULTILINE)
    program = "import importlib.metadata as m; print(*m.packages_distributions())"
    modules = subprocess.run(
        ["uv", "run", "--no-sync", "python", "-c", program],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    names = {*distributions, *modules} - {"locked-project"}
    # Packages are lower case, and a distribution `a-b` could be imported as `a_b`.
    normalized = {name.lower().replace("-", "_").replace(".", "_") for name in names}
    return {name for name in normalized if name.isidentifier()}


def in_lines(names: set[str]) -> str:
    """Return names in lines of at most 100 characters."""
    return textwrap.fill(" ".join(sorted(names)), 98, break_long_words=False)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


namespace = Collection(*(value for value in list(globals().values()) if isinstance(value, Task)))
for command in (merge_upstream, projects.update, projects.eject, projects.link):
    namespace.add_task(command)
namespace.add_collection(fork_tasks)
namespace.add_collection(fleet_tasks)
