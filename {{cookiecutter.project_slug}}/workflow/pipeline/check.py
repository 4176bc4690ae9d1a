"""`inv train --check`: are the results those of this code, config and data? It runs nothing.

    python -m workflow.pipeline.check

After a merge they are those of one side. It needs no data, so CI can run it.
"""

import argparse

from ..dvc_store import recorded
from ..dvc_store.command import hush
from ..errors import CommandError
from ..paths import LOCK
from ..storage import open_repo


def main() -> None:
    argparse.ArgumentParser(prog="train --check", description=__doc__).parse_args()
    hush()
    try:
        stale = recorded.stale(open_repo())
    except CommandError as error:
        raise SystemExit(f"train: {error}") from None
    if stale:
        raise SystemExit(
            f"train: {LOCK} has the results of other code, config or data:"
            f" {recorded.text(stale)}: inv train, git add --all && git commit"
        )
    if LOCK.exists():
        print("the results are those of this code, config and data")
        print("next: inv report")
    else:
        print("nothing was trained so far")
        print("next: inv train")


if __name__ == "__main__":
    main()
