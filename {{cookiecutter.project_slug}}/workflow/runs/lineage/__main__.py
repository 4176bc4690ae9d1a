"""The command behind `inv lineage`: python -m workflow.runs.lineage --help."""

import argparse
import io
import sys

from rich.console import Console

from ...errors import CommandError
from ...git import GitError
from . import inputs, subjects, tree


def main() -> None:
    parser = argparse.ArgumentParser(prog="lineage", description=__doc__)
    parser.add_argument("what", help="see `inv --help lineage`")
    try:
        show(parser.parse_args().what)
    except (GitError, CommandError) as problem:
        raise SystemExit(f"lineage: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None


def show(what: str) -> None:
    """Print the tree of a model, a service or a run."""
    roots = subjects.find(what)
    hashes = {md5 for subject in roots for md5 in subject.provenance.data.values()}
    places = inputs.places(hashes)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a pipe's encoding lacks is shown as "?"
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    for subject in roots:
        console.print(tree.draw(subject, places))


if __name__ == "__main__":
    main()
