"""The command behind `inv clean`: python -m workflow.cleaning --help."""

import argparse
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import CommandError, one_line
from ..git import GitError
from ..report.figures import size_text
from ..runs.restoring import restore
from . import (
    cached_objects,
    docker_images,
    job_snapshots,
    leftovers,
    restored_copies,
    uploaded_runs,
)
from .item import Item


def main() -> None:
    parser = argparse.ArgumentParser(prog="clean", description=__doc__)
    parser.add_argument("--apply", action="store_true", help="remove what can go")
    apply = parser.parse_args().apply
    try:
        listed = list(items())
        print_table(listed)
        removable = [item for item in listed if item.free]
        if apply:
            for item in removable:
                remove(item)
            print(f"{size_text(sum(item.free for item in removable))} freed")
            print("next: inv doctor")
            return
    except (CommandError, GitError) as problem:
        raise SystemExit(f"clean: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
    print(f"{size_text(sum(item.free for item in removable))} can go; nothing was removed")
    print("next: inv clean --apply" if removable else "next: inv doctor")


def items() -> Iterator[Item]:
    """Yield all that takes room."""
    copies = list(restore.restored())
    yield from uploaded_runs.items()
    yield cached_objects.item(restored_copies.projects(copies))
    yield from restored_copies.items(copies)
    yield from job_snapshots.items()
    yield from leftovers.items()
    yield from docker_images.items()


def remove(item: Item) -> None:
    """Remove what can go of an item.

    Raises:
        CommandError: something does not let it go; what was removed before stays so.
    """
    try:
        item.remove()
    except Exception as error:  # of DVC, Docker or the file system
        raise CommandError(f"{item.name}: {one_line(error)}") from None


def print_table(listed: list[Item]) -> None:
    table = Table(box=None, header_style="bold", caption_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("takes", justify="right", no_wrap=True)
    table.add_column("can go", justify="right", no_wrap=True)
    table.add_column("what stays")
    for item in sorted(listed, key=lambda item: -item.size):
        free = size_text(item.free) if item.free else "-"
        table.add_row(*map(Text, (item.name, size_text(item.size), free, item.stays)))
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
