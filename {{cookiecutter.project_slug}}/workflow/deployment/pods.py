"""What Kubernetes says of pods that do not come up, from the JSON of `kubectl get`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
COMING = ("ContainerCreating", "PodInitializing")
GIVEN_UP = 3  # starts: what fails as often fails for a reason of its own
MAX_LINE = 300  # characters of a message

# What to do where the message alone does not say it.
ADVICE = {"OOMKilled": "out of memory: raise memory_mb or web_memory_mb in conf/serving/"}


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not come up."""

    pod: str
    reason: str  # one word, as Kubernetes has it: CrashLoopBackOff, ImagePullBackOff, …
    message: str  # one line; the container's own where it printed one
    is_final: bool  # the cluster keeps trying, in vain

    def __str__(self) -> str:
        return f"{self.pod} does not start ({self.reason}): {self.message or 'it says nothing'}"


def troubles(objects: list[dict[str, Any]]) -> list[Trouble]:
    """Return what is wrong with the new pods of a Deployment.

    Args:
        objects: the Deployment, its ReplicaSets and pods, as the cluster has them. Pods of an
            earlier revision do not count.
    """
    of_kind = {
        kind: [item for item in objects if item["kind"] == kind]
        for kind in ("Deployment", "ReplicaSet", "Pod")
    }
    problems: list[Trouble] = []
    for deployment in of_kind["Deployment"]:
        if deployment["status"].get("observedGeneration") != deployment["metadata"]["generation"]:
            continue  # the cluster has not processed the change yet
        revision = annotation(deployment, REVISION)
        for replicas in of_kind["ReplicaSet"]:
            if revision and annotation(replicas, REVISION) == revision:
                problems += refused(replicas)
                template = replicas["metadata"]["labels"][HASH]
                for pod in of_kind["Pod"]:
                    if pod["metadata"]["labels"].get(HASH) == template:
                        problems += of_pod(pod)
    return problems


def refused(replicas: dict[str, Any]) -> Iterator[Trouble]:
    """Yield why the cluster makes no pods: a quota, a policy of the namespace."""
    for condition in replicas["status"].get("conditions", []):
        if (condition["type"], condition["status"]) == ("ReplicaFailure", "True"):
            name, reason = replicas["metadata"]["name"], condition.get("reason", "ReplicaFailure")
            yield Trouble(name, reason, last_line(condition.get("message")), is_final=False)


def of_pod(pod: dict[str, Any]) -> Iterator[Trouble]:
    """Yield what keeps a pod from being ready: no node for it, or a container that fails."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", []):
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            reason = condition.get("reason", "Unschedulable")
            yield Trouble(name, reason, last_line(condition.get("message")), is_final=False)
    for container in status.get("containerStatuses", []):
        if container.get("ready"):
            continue
        starts = container.get("restartCount", 0) + 1
        waiting = container["state"].get("waiting", {})
        ended = container["state"].get("terminated") or container.get("lastState", {}).get(
            "terminated"
        )
        if ended:
            reason = ended.get("reason", "Error")
            message = ADVICE.get(reason) or last_line(ended.get("message"))
            message = message or f"exit code {ended.get('exitCode')}, and it printed nothing"
            is_final = starts >= GIVEN_UP and waiting.get("reason") == "CrashLoopBackOff"
            yield Trouble(name, reason, message, is_final)
        elif waiting and waiting.get("reason") not in COMING:
            message = last_line(waiting.get("message"))
            yield Trouble(name, waiting.get("reason", "waiting"), message, is_final=False)


def annotation(item: dict[str, Any], name: str) -> str | None:
    """Return an annotation of an object; None where it has none of this name."""
    value: str | None = item["metadata"].get("annotations", {}).get(name)
    return value


def last_line(text: str | None) -> str:
    """Return the last line that says something: Python says last what is wrong."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][-MAX_LINE:] if lines else ""
