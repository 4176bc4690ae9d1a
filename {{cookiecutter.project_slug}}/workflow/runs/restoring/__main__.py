"""The commands behind `inv restore`, `inv reproduce`: python -m workflow.runs.restoring --help."""

import argparse
from pathlib import Path

from rich.console import Console

from ...errors import CommandError
from ...git import GitError
from ..finding import RecordedRun, find
from . import reproduce
from .restore import default_folder, plan, require_free, restore, reuse


def main() -> int:
    arguments = parser().parse_args()
    try:
        run = find(arguments.run)
        folder = Path(arguments.into) if arguments.into else default_folder(run)
        if arguments.action == "restore":
            project = plan_and_restore(run, folder)
            print(f"next: inv reproduce {arguments.run}, or cd {project} and inv train")
            return 0
        return run_again(run, folder)
    except (GitError, CommandError) as problem:
        raise SystemExit(f"{arguments.action}: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None


def plan_and_restore(run: RecordedRun, folder: Path) -> Path:
    """Say what can be restored, and what cannot; then restore it."""
    folder = folder.resolve()
    require_free(folder)
    parts = plan(run)
    print(f"{run.kind} {run.name}")
    for part in parts:
        print(f"  {part.name:<12} {'' if part.is_available else 'cannot be restored: '}{part.text}")
    project = restore(run, folder, parts)
    print(f"restored: {project}")
    return project


def run_again(run: RecordedRun, folder: Path) -> int:
    """Run it again where it was restored, and compare; return 1 if anything differs."""
    if not run.metrics:
        raise CommandError(f"{run.name}: it recorded no metric to compare with")
    project = reuse(run, folder) or plan_and_restore(run, folder)
    reproduce.run_again(project)
    metrics, facts = reproduce.results(run, project)
    console = Console(highlight=False)
    console.width = max(console.width, 100)  # narrower, rich would leave columns out
    console.print(reproduce.table(metrics, facts))
    differing = [result.name for result in metrics if not result.identical]
    if differing:
        print(f"{len(differing)} of {len(metrics)} differ")
        return 1
    print(f"all {len(metrics)} identical")
    return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="restoring", description=__doc__)
    actions = root.add_subparsers(dest="action", required=True)
    whats = {"restore": "restore a run", "reproduce": "restore it, run it again and compare"}
    for name, what in whats.items():
        action = actions.add_parser(name, help=what)
        action.add_argument("run", help="see `inv --help restore`")
        action.add_argument("--into", help="a folder, from the project's; default: beside it")
    return root


if __name__ == "__main__":
    raise SystemExit(main())
