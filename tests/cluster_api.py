"""As much of Kubernetes' API as kubectl needs to apply a file and to wait for its pods.

What it is given it keeps, and answers with; there are no nodes. What becomes of the pods of a
Deployment, a test says: `Cluster.fate` has the state of their containers by its name. The fields
are those of Kubernetes' API reference, which a real cluster answers with.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

REVISION = "deployment.kubernetes.io/revision"
# Group and version, by the kinds that it has; each with the name of its resource.
GROUPS = {
    "v1": {"Namespace": "namespaces", "Pod": "pods", "Service": "services"}
    | {"ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims"},
    "batch/v1": {"Job": "jobs"},
    "apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}
    | {"IngressClass": "ingressclasses"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}
OF_THE_CLUSTER = ("Namespace", "IngressClass")
READY = {"ready": True, "restartCount": 0, "state": {"running": {}}}


@dataclass
class Cluster:
    """What the API keeps: objects by the path of their resource and their name."""

    address: str = ""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    fate: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, path: str, kind: str, name: str) -> None:
        """Add an object that is there before anything is applied."""
        self.objects[f"{path}/{name}"] = {"kind": kind, "metadata": {"name": name}}

    def kubeconfig(self, file: Path) -> Path:
        """Write a configuration of kubectl for this cluster."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "ours",
            "contexts": [{"name": "ours", "context": {"cluster": "ours", "user": "me"}}],
            "clusters": [{"name": "ours", "cluster": {"server": self.address}}],
            "users": [{"name": "me", "user": {}}],
        }
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return file

    def keep(self, path: str, found: dict[str, Any]) -> dict[str, Any]:
        """Keep an object, and do what a controller of Deployments would."""
        before = self.objects.get(path, {"metadata": {}})
        changed = before.get("spec") != found.get("spec")
        generation = before["metadata"].get("generation", 0) + changed
        found["metadata"] |= {"generation": generation, "uid": path, "resourceVersion": "1"}
        self.objects[path] = found
        if found["kind"] == "Deployment":
            self.roll_out(path, found)
        return found

    def roll_out(self, path: str, deployment: dict[str, Any]) -> None:
        """Make the ReplicaSet and the pod of a Deployment's generation."""
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        name, generation = metadata["name"], metadata["generation"]
        revision = {REVISION: str(generation)}
        metadata.setdefault("annotations", {}).update(revision)
        hashed = {"pod-template-hash": f"hash{generation}"}
        container = self.fate.get(name, READY)
        status = {"replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1}
        if container["ready"]:
            status = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        deployment["spec"].setdefault("replicas", 1)
        deployment["status"] = {"observedGeneration": generation, **status}
        labels = {**template["metadata"]["labels"], **hashed}
        folder = path.rpartition("/deployments/")[0]
        replicas = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": f"{name}-1", "labels": labels, "annotations": revision},
            "status": {"replicas": 1},
        }
        self.objects[f"{folder}/replicasets/{name}-{generation}"] = replicas
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-{generation}-abcde", "labels": labels},
            "status": {"phase": "Running", "containerStatuses": [container]},
        }
        pods = folder.replace("/apis/apps/v1", "/api/v1")
        self.objects[f"{pods}/pods/{name}-{generation}-abcde"] = pod


class Answer(BaseHTTPRequestHandler):
    """Answers of the API."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = url.path.rstrip("/")
        if document := discovery(path):
            self.send(document)
        elif path in self.cluster.objects:
            self.send(self.cluster.objects[path])
        elif path.rpartition("/")[2] in {
            name for kinds in GROUPS.values() for name in kinds.values()
        }:
            self.many(path, query)
        else:
            self.refuse(404, "NotFound", f"{path} not found")

    def many(self, path: str, query: dict[str, str]) -> None:
        """Answer with the objects of a resource, or watch them."""
        found = [
            entry
            for name, entry in self.cluster.objects.items()
            if name.rpartition("/")[0] == path and selected(entry, query)
        ]
        if query.get("watch") not in ("1", "true"):
            self.send({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": found})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        kinds = {name: (group, kind) for group, of in GROUPS.items() for kind, name in of.items()}
        group, kind = kinds[path.rpartition("/")[2]]
        end = {"k8s.io/initial-events-end": "true"}
        bookmark = {
            "apiVersion": group,
            "kind": kind,
            "metadata": {"resourceVersion": "1", "annotations": end},
        }
        events = [{"type": "ADDED", "object": entry} for entry in found]
        events += [{"type": "BOOKMARK", "object": bookmark}]
        with contextlib.suppress(OSError):
            for event in events if "sendInitialEvents" in query else []:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            while True:  # nothing changes
                self.wfile.flush()
                time.sleep(0.2)

    def do_POST(self) -> None:
        content = self.body()
        path = f"{urlsplit(self.path).path}/{content['metadata']['name']}"
        dry = "dryRun" in self.path
        self.send(content if dry else self.cluster.keep(path, content), 201)

    def do_PATCH(self) -> None:
        path = urlsplit(self.path).path
        content = merged(self.cluster.objects[path], self.body())
        self.send(content if "dryRun" in self.path else self.cluster.keep(path, content))

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def refuse(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        self.send({**status, "reason": reason, "code": code, "message": message}, code)

    def send(self, content: dict[str, Any], code: int = 200) -> None:
        sent = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def discovery(path: str) -> dict[str, Any] | None:
    """What there is, as kubectl asks for it before anything else."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/version":
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}
    if path == "/apis":
        names = [name.split("/") for name in GROUPS if "/" in name]
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for group, version in names
        ]
        groups = [
            {"name": group, "versions": [entry], "preferredVersion": entry}
            for (group, _), entry in zip(names, versions, strict=True)
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    folders = {f"/{'apis' if '/' in group else 'api'}/{group}": group for group in GROUPS}
    if path == "/openapi/v3":
        urls = {name[1:]: {"serverRelativeURL": f"/openapi/v3{name}"} for name in folders}
        return {"paths": urls}
    if path in folders:
        resources = [
            {
                "name": name,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": kind not in OF_THE_CLUSTER,
                "verbs": ["create", "get", "list", "patch", "watch"],
            }
            for kind, name in GROUPS[folders[path]].items()
        ]
        group = folders[path]
        return {"kind": "APIResourceList", "groupVersion": group, "resources": resources}
    if path.removeprefix("/openapi/v3") in folders:
        return schema(folders[path.removeprefix("/openapi/v3")])
    return None


def schema(group: str) -> dict[str, Any]:
    """That the server itself validates the fields of a group's objects."""
    name, _, version = group.rpartition("/")
    paths = {}
    for kind, resource in GROUPS[group].items():
        known = {"group": name, "version": version, "kind": kind}
        parameters = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]
        patch = {"parameters": parameters, "x-kubernetes-group-version-kind": known}
        paths[f"/{resource}/{{name}}"] = {"patch": {**patch, "responses": {}}}
    return {"openapi": "3.0.0", "info": {"title": group, "version": "1"}, "paths": paths}


def selected(entry: dict[str, Any], query: dict[str, str]) -> bool:
    """Whether an object has the labels, and the name, that are asked for."""
    labels = entry["metadata"].get("labels", {})
    wanted = dict(re.findall(r"([^=,]+)=([^,]+)", query.get("labelSelector", "")))
    name = query.get("fieldSelector", "").partition("metadata.name=")[2]
    return wanted.items() <= labels.items() and name in ("", entry["metadata"]["name"])


def merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """An object with a patch: maps are merged, all else is replaced."""
    after = copy.deepcopy(before)
    for key, value in patch.items():
        if key.startswith("$"):  # how lists and maps are to be merged
            continue
        old = after.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            value = merged(old, value)
        after[key] = value
    return after


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """An API on the loopback."""
    cluster = Cluster()
    handler = type("Bound", (Answer,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    cluster.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield cluster
    finally:
        server.shutdown()
