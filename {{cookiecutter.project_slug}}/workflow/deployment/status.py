"""What is deployed on this machine, as a table."""

import docker
from rich.console import Console
from rich.table import Table

from . import counts, proxy, stack
from .counts import Count
from .state import Deployment, Release, is_interrupted, load


def show(client: docker.DockerClient) -> bool:
    """Print what is deployed, and return whether all of it answers."""
    if is_interrupted():
        print("the last change was interrupted: inv deploy.up restores what is listed here")
    deployment = load()
    if deployment is None or not deployment.models:
        print("nothing is deployed: inv deploy.up")
        return False
    running = proxy.find(client, stack.project())
    if running is None:
        print("nothing runs; inv deploy.up starts again:")
    else:
        print(f"{url(deployment)} answers for:")
    counted = counts.record(running) if running else counts.total()
    table = Table("model", "version", "weight", "replicas", "requests", "failed", "source")
    every_up = True
    for name, model in deployment.models.items():
        for release, weight in model.releases().items():
            rows = proxy.servers(running, name, release) if running else []
            up = sum(row["status"].startswith("UP") for row in rows)
            every_up = every_up and up == deployment.scale
            count = counted.get(counts.key(name, release), Count())
            table.add_row(
                *(name, release.version, f"{weight} %", f"{up} of {deployment.scale} up"),
                *(str(count.requests), str(count.failed), origin(release)),
            )
    console = Console()
    console.width = max(console.width, 130)  # narrower, rich would shorten names
    console.print(table)
    return every_up and not is_interrupted()


def origin(release: Release) -> str:
    """Return a release's source, and what distinguishes it from another one of the same source."""
    commit = release.commit and f"commit {release.commit[:7]}"
    run = release.run and f"run {release.run}"
    details = ", ".join(filter(None, (commit, run)))
    return f"{release.source} ({details})" if details else release.source


def url(deployment: Deployment) -> str:
    """Return where a browser on this machine finds the page."""
    address = deployment.address.replace("0.0.0.0", "127.0.0.1")
    return f"http://{address}:{deployment.port}"
