"""Waiting for a rollout on a cluster, and printing what keeps its pods from starting."""

import json
import shlex
import subprocess
import time
from typing import Any

from ..errors import CommandError
from ..paths import ROOT
from . import kubectl
from .pods import Trouble, troubles

LOOK_SECONDS = 2


def wait(deployment: dict[str, Any], namespace: str) -> None:
    """Wait until the new pods of a Deployment answer; print what is wrong as soon as it is known.

    Raises:
        CommandError: they do not before its `progressDeadlineSeconds`, or what they fail of will
            not pass. Nothing is undone.
    """
    name, here = deployment["metadata"]["name"], f"--namespace={namespace}"
    selector = deployment["spec"]["selector"]["matchLabels"]
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    command = ["kubectl", "rollout", "status", f"deployment/{name}", here]
    print(f"$ {shlex.join(command)}", flush=True)
    process = subprocess.Popen(command, cwd=ROOT)
    known: list[Trouble] = []
    try:
        while process.poll() is None and not any(trouble.is_final for trouble in known):
            for trouble in look(labels, here):
                # Other replicas, and later starts, fail of the same.
                if trouble.message not in [other.message for other in known]:
                    print(f"deploy: {trouble}", flush=True)
                known.append(trouble)
            time.sleep(LOOK_SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode == 0:
        return
    why = str(known[-1]) if known else f"kubectl describe pods {here} says why"
    raise CommandError(
        f"{name}: its new pods do not answer; old ones keep answering. {why}. To undo the rollout: "
        f"kubectl rollout undo deployment/{name} {here}"
    )


def look(labels: str, here: str) -> list[Trouble]:
    """Return what is wrong now; nothing where the cluster does not say, or not to this user."""
    kinds = "deployments,replicasets,pods"
    try:
        options = (f"--selector={labels}", here, "--output=json", "--request-timeout=20s")
        printed = kubectl.run("get", kinds, *options)
    except CommandError:
        return []
    return troubles(json.loads(printed)["items"])
