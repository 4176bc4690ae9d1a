"""The command behind `inv report`: python -m workflow.report --help."""

import argparse
import webbrowser
from collections.abc import Sequence

from ..errors import CommandError
from ..git import GitError
from .figures import size_text
from .page import write


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="report", description="Write reports/report.html.")
    parser.add_argument("--show", action="store_true", help="open it in the browser")
    show = parser.parse_args(arguments).show
    try:
        path = write()
    except (GitError, CommandError) as error:
        raise SystemExit(f"report: {error}") from None
    print(f"{path.as_posix()} written, {size_text(path.stat().st_size)}")
    if show:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    main()
