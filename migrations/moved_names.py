"""Rename what moved within `workflow/` in versions 3.0.0 and 3.1.0, in a project's own files.

    python moved_names.py PROJECT

Dotted names, as in imports and in `_target_` in conf/. Standard library only; what is renamed
already stays as it is.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

VERSION = "3.1.0"
# By the old name; whatever is in it moved along.
MOVED = {
    "workflow.lightning.checkpoints": "workflow.training.checkpoints",
    "workflow.lightning.wandb_callbacks.ConfusionMatrix": (
        "workflow.training.best_model.ConfusionMatrix"
    ),
    "workflow.lightning.wandb_callbacks.PredictionsTable": (
        "workflow.training.best_model.PredictionsTable"
    ),
}
SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".md", ".sh", ".ipynb")


def renamed(text: str) -> str:
    """Return a file's text with the new names."""
    for old, new in MOVED.items():
        text = re.sub(rf"(?<![\w.]){re.escape(old)}\b", new, text)
        folder, _, name = old.rpartition(".")
        target, _, _ = new.rpartition(".")
        # `from FOLDER import NAME`, alone on its line.
        lines = rf"^(\s*)from {re.escape(folder)} import {name}(?=( as \w+)?\s*(#.*)?$)"
        text = re.sub(lines, rf"\1from {target} import {name}", text, flags=re.MULTILINE)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("project", type=Path, help="the project's folder")
    project = parser.parse_args().project
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=project, capture_output=True, text=True, check=True
    )
    changed = 0
    for name in filter(None, listed.stdout.split("\0")):
        path = project / name
        is_own = path.suffix in SUFFIXES and not name.startswith(("workflow/", "docs/"))
        if not is_own or not path.is_file():
            continue
        content = path.read_bytes()
        new = renamed(content.decode(errors="surrogateescape"))
        if (encoded := new.encode(errors="surrogateescape")) != content:
            path.write_bytes(encoded)
            changed += 1
            print(f"{name}: renamed what moved")
    print(f"{changed} files changed")


if __name__ == "__main__":
    main()
