"""Measure the images of a generated project, and write the table of README.md beside this file.

    inv bench --images    about ten minutes; needs a Docker Engine

BASE_IMAGE and TORCH_INDEX of the environment are those of docker/docker-bake.hcl.
"""

import json
import statistics
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

from measuring import machine, seconds, table, write

SLUG = f"images-{datetime.now():%H%M%S}"  # a new name: no layer is there from an earlier run
PACKAGE = SLUG.replace("-", "_")
EVERY_EPOCH = "callbacks.early_stopping.patience=100"
CHANGED = {"cpu": "model.py", "gpu": "model.py", "serve": "serving/service.py"}


def engine(*arguments: str) -> str:
    """Return what the `docker` command prints."""
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def size(image: str) -> int:
    """Return the size of an image in bytes, its layers unpacked."""
    return json.loads(engine("image", "inspect", image))[0]["Size"]


def base(project: Path) -> str:
    """Return the image that those of the project build on."""
    bake = ("buildx", "bake", "--file", str(project / "docker/docker-bake.hcl"), "--print", "serve")
    return json.loads(engine(*bake))["target"]["serve"]["args"]["BASE_IMAGE"]


def builds(project: Path) -> list[list[str]]:
    """Return a row an image: size, and the time to build it first, changed and unchanged."""
    beneath = size(base(project))
    rows = []
    for image, name in CHANGED.items():
        command = ("uv", "run", "inv", "docker.build", "--image", image)
        first = seconds(*command, folder=project)
        module = project / PACKAGE / name
        changed = []
        for number in range(3):
            with module.open("a", encoding="utf-8") as file:
                file.write(f"# {number}\n")
            changed.append(seconds(*command, folder=project))
        unchanged = seconds(*command, folder=project)
        times = (first, statistics.median(changed), unchanged)
        over = size(f"{SLUG}-{image}:latest") - beneath
        rows.append([f"`{image}`", f"{over / 1e6:,.0f}", *(f"{took:.1f}" for took in times)])
    return rows


def trainings(project: Path) -> list[list[str]]:
    """Return the time of the whole pipeline outside and inside of a container, taking turns."""
    ways = {"`inv train`": "train", "`inv docker.train`": "docker.train"}
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(3):
        for way, task in ways.items():
            # Every one with results of its own, and as many epochs as the others.
            overrides = (f"seed={len(took[way]) + 100 * len(task)}", EVERY_EPOCH)
            took[way].append(seconds("uv", "run", "inv", task, "--", *overrides, folder=project))
    outside = statistics.median(took["`inv train`"])
    medians = {way: statistics.median(times) for way, times in took.items()}
    return [[way, f"{median:.1f}", f"{median / outside:.2f}"] for way, median in medians.items()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder).resolve() / SLUG
        seconds("uv", "run", "inv", "demo", "--folder", str(project))
        rows = builds(project)
        head = [
            "image",
            "MB over the base",
            "first build, s",
            "one line changed, s",
            "unchanged, s",
        ]
        text = f"{machine()}\n\n{table(head, rows)}\n\n"
        text += table(["the whole pipeline", "s", "of outside"], trainings(project))
        engine("image", "rm", *(f"{SLUG}-{image}" for image in CHANGED))
    write("images", text)


if __name__ == "__main__":
    main()
