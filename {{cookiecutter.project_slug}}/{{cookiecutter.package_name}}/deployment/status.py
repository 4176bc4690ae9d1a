"""What is deployed on this machine, as a table."""

import docker
from rich.console import Console
from rich.table import Table

from . import proxy, stack
from .state import Deployment, load

COUNTS = ("stot", "hrsp_5xx")  # of the proxy, since it took its config


def show(client: docker.DockerClient) -> bool:
    """Print what is deployed, and return whether all of it answers."""
    deployment = load()
    if deployment is None or not deployment.models:
        print("nothing is deployed: inv deploy.up")
        return False
    running = proxy.find(client, stack.project())
    if running is None:
        print("nothing runs; inv deploy.up starts again:")
    else:
        print(f"{url(deployment)} answers for:")
    table = Table("model", "version", "share", "replicas", "requests", "failed", "source")
    every_up = True
    for name, model in deployment.models.items():
        for release, share in model.releases().items():
            rows = proxy.servers(running, name, release) if running else []
            up = sum(row["status"].startswith("UP") for row in rows)
            every_up = every_up and up == deployment.scale
            requests, failed = (str(sum(int(row[key]) for row in rows)) for key in COUNTS)
            source = release.source + (f" ({release.commit[:7]})" if release.commit else "")
            replicas = f"{up} of {deployment.scale} up"
            table.add_row(name, release.version, f"{share} %", replicas, requests, failed, source)
    console = Console()
    console.width = max(console.width, 110)  # narrower, rich would shorten names
    console.print(table)
    return every_up


def url(deployment: Deployment) -> str:
    """Return where a browser on this machine finds the page."""
    address = deployment.address.replace("0.0.0.0", "127.0.0.1")
    return f"http://{address}:{deployment.port}"
