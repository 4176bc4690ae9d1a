"""Copy the template as it would be committed now."""

import json
import shutil
import subprocess
from pathlib import Path

from fork.layer import UPSTREAM, opened


def copy_template(root: Path, target: Path, is_open: bool = False) -> Path:
    """Copy what Git knows or would add: what users get, without caches and build products.

    Args:
        is_open: in a fork, questions that the team has fixed are asked, its answers the defaults.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    )
    for name in sorted(set(listed.stdout.decode().split("\0")) - {""}):
        if (root / name).is_file():  # a file deleted but not yet committed is still listed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    path = target / "cookiecutter.json"
    questions = json.loads(path.read_text("utf-8"))
    if is_open and UPSTREAM in questions:
        path.write_text(json.dumps(opened(questions), indent=2), encoding="utf-8")
    return target
