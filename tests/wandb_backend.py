"""A loopback test double of the hosted Weights & Biases service.

It lets the real client (wandb 0.31) run without an account and without a network, so that a test
can look at what a run left behind. It speaks:

- runs: start, resume, config, summary, history, system metrics, console, files, final state;
- artifacts: versions, aliases, metadata, upload, deduplication, download, logged and used by a run;
- `wandb.Api()`: a run, the runs of a project, history, files, artifacts by name and alias;
- `wandb sync`, `wandb login`, `wandb restore`;
- `wandb sweep` and `wandb agent`: a sweep is kept as it was sent, and its agents get the runs that
  a test has put into its `queue`, then the end.

It does not speak launch, registries, teams, filters, multipart uploads, run rewinds and
forks, or shared mode; it answers those with an error that names the operation. One user, `me`, one
key, everything on one page, nothing survives the process but the uploaded bytes under its folder.

Lines of history, events and console are addressed by offset, as the client sends them: what a
client writes twice is there once if it says so, and twice if it does not.

    with Backend(tmp_path) as backend:
        ...  # run a client with WANDB_BASE_URL=backend.url and WANDB_API_KEY=backend.api_key
        assert backend.run("project", "run-id").summary["accuracy"] > 0.9

By hand: `python tests/wandb_backend.py PORT FOLDER`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

Json = dict[str, Any]

ENTITY = "me"
API_KEY = "local" * 8  # the client refuses a key of fewer than 40 characters
NOW = "2026-01-01T00:00:00Z"


@dataclass
class Run:
    """One run, as its clients described it."""

    project: str
    name: str
    attributes: Json = field(default_factory=dict)
    state: str = "running"
    raw_config: str = "{}"
    raw_summary: str = "{}"
    history_lines: list[str] = field(default_factory=list)
    event_lines: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    used_artifacts: list[Artifact] = field(default_factory=list)

    @property
    def id(self) -> str:
        return global_id("Run", f"{self.project}:{self.name}")

    @property
    def config(self) -> Json:
        """What the user put there; the client's own notes (`_wandb`) are left out."""
        entries = json.loads(self.raw_config)
        return {key: entry["value"] for key, entry in entries.items() if key != "_wandb"}

    @property
    def summary(self) -> Json:
        return dict(json.loads(self.raw_summary))

    @property
    def history(self) -> list[Json]:
        return [json.loads(line) for line in self.history_lines if line]

    @property
    def metadata(self) -> Json:
        return dict(json.loads(self.files["wandb-metadata.json"].read_bytes()))


@dataclass
class Artifact:
    """One version of one artifact; `files` maps each name to the bytes that were uploaded."""

    id: str
    project: str
    collection: str
    version: int
    type: str
    digest: str
    run: str | None = None
    description: str | None = None
    metadata: str | None = None
    aliases: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    manifest: str | None = None
    committed: bool = False

    @property
    def name(self) -> str:
        return f"{self.collection}:v{self.version}"

    def answers_to(self, alias: str) -> bool:
        return alias in self.aliases or alias == f"v{self.version}"


def global_id(kind: str, key: str) -> str:
    """An opaque identifier of the form that the service hands out."""
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


def page(nodes: Iterable[Json]) -> Json:
    """A GraphQL connection that holds everything on one page."""
    edges = [{"cursor": str(index), "node": node} for index, node in enumerate(nodes)]
    info = {"__typename": "PageInfo", "hasNextPage": False, "endCursor": None}
    return {"edges": edges, "pageInfo": info, "totalCount": len(edges)}


def write_lines(lines: list[str], offset: int, content: list[str]) -> None:
    """Put `content` at line `offset`; lines before and after it stay."""
    lines.extend([""] * (offset - len(lines)))
    lines[offset : offset + len(content)] = content


def sample(rows: list[Json], spec: str) -> list[Json]:
    """The wanted columns of every row that has all of them."""
    keys = json.loads(spec)["keys"]
    return [{key: row[key] for key in keys} for row in rows if all(key in row for key in keys)]


@dataclass
class Sweep:
    """A sweep as its client described it, and the values of the runs that its agents are to do."""

    name: str
    project: str
    config: str
    queue: list[Json] = field(default_factory=list)


class NotSpokenError(Exception):
    """The client asked for something that the test double does not do."""


Operation = Callable[["Backend", Json], Json]
OPERATIONS: dict[str, Operation] = {}


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Register a method of `Backend` as the answer to these GraphQL operations."""

    def register(method: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, method))
        return method

    return register


class Backend:
    """The service: a context manager that listens on 127.0.0.1 (port 0: any free port)."""

    api_key = API_KEY

    def __init__(self, folder: str | Path, port: int = 0) -> None:
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.runs: dict[tuple[str, str], Run] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.client_ids: dict[str, str] = {}
        self.sweeps: dict[str, Sweep] = {}
        self._numbers = itertools.count(101)
        self._port = port

    def __enter__(self) -> Backend:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after `stop`, on the same port."""
        self.stopped = False
        handler = type("BackendHandler", (Handler,), {"backend": self})
        self.server = Listener(("127.0.0.1", self._port), handler)
        self._port = self.server.server_port
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Be as a server that cannot be reached; what it was sent stays."""
        self.stopped = True
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def run(self, project: str, name: str) -> Run:
        """The run of that name; KeyError when no client has sent it."""
        with self.lock:
            return self.runs[project, name]

    def artifact(self, project: str, name: str) -> Artifact:
        """The committed artifact called `collection:alias`; KeyError when there is none."""
        with self.lock:
            found = self._named_artifact(project, name)
        if found is None:
            raise KeyError(name)
        return found

    # -- requests ---------------------------------------------------------------------------------

    def answer(self, request: Json) -> Json:
        """Answer one GraphQL request."""
        match = re.search(r"\b(?:query|mutation)\s+(\w+)", request["query"])
        name = match[1] if match else ""
        with self.lock:
            try:
                if name not in OPERATIONS:
                    raise NotSpokenError(f"the test double does not speak {name or 'this query'}")
                return {"data": OPERATIONS[name](self, request.get("variables") or {})}
            except (KeyError, NotSpokenError) as error:
                return {"errors": [{"message": f"{name}: {error}"}]}

    def stream(self, project: str, name: str, message: Json) -> Json:
        """Take one message of a run's file stream."""
        with self.lock:
            run = self._run_or_new(project, name)
            for file, chunk in (message.get("files") or {}).items():
                self._take_chunk(run, file, chunk.get("offset", 0), chunk["content"])
            if message.get("complete"):
                run.state = "failed" if message.get("exitcode") else "finished"
        return {"exitcode": None, "limits": {}}

    def blob(self, path: str) -> Path:
        """Where the bytes behind a blob URL lie."""
        target = (self.folder / path).resolve()
        if not target.is_relative_to(self.folder):
            raise ValueError(path)
        return target

    def store(self, path: str, content: bytes) -> None:
        """Take the bytes that a client puts to a blob URL."""
        kind, _, rest = path.partition("/")
        if kind == "objects" and hashlib.md5(content, usedforsecurity=False).hexdigest() != rest:
            raise ValueError(f"{path} does not hold what was announced")
        target = self.blob(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if kind == "files":
            project, name, file = rest.split("/", 2)
            with self.lock:
                self._run_or_new(project, name).files[file] = target

    # -- state ------------------------------------------------------------------------------------

    def _number(self) -> str:
        return str(next(self._numbers))

    def _run_or_new(self, project: str, name: str) -> Run:
        return self.runs.setdefault((project, name), Run(project, name))

    def _run_of(self, variables: Json) -> Run | None:
        name = next((variables[k] for k in ("run", "runName", "name") if variables.get(k)), None)
        return self.runs.get((variables["project"], str(name)))

    def _take_chunk(self, run: Run, file: str, offset: int, content: list[str]) -> None:
        if file == "wandb-summary.json":
            run.raw_summary = content[-1]
        elif file == "wandb-history.jsonl":
            write_lines(run.history_lines, offset, content)
        elif file == "wandb-events.jsonl":
            write_lines(run.event_lines, offset, content)
        elif file == "output.log":
            write_lines(run.console, offset, content)

    def _versions(self, project: str, collection: str) -> list[Artifact]:
        every = self.artifacts.values()
        return [a for a in every if (a.project, a.collection) == (project, collection)]

    def _named_artifact(self, project: str, name: str) -> Artifact | None:
        collection, _, alias = name.partition(":")
        for artifact in reversed(self._versions(project, collection)):
            if artifact.committed and artifact.answers_to(alias or "latest"):
                return artifact
        return None

    def _move_aliases(self, artifact: Artifact, aliases: list[str]) -> None:
        """Give the artifact these aliases; no other version keeps one of them."""
        for other in self._versions(artifact.project, artifact.collection):
            if other is not artifact:
                other.aliases = [alias for alias in other.aliases if alias not in aliases]
        artifact.aliases = list(aliases)

    # -- how things look to the client ------------------------------------------------------------

    def _blob_url(self, path: str) -> str:
        return f"{self.url}/blob/{quote(path)}"

    def _run_file_url(self, run: Run, file: str) -> str:
        return self._blob_url(f"files/{run.project}/{run.name}/{file}")

    def _project_view(self, name: str) -> Json:
        return {
            "__typename": "Project",
            "id": global_id("Project", name),
            "internalId": global_id("ProjectInternalId", "1"),
            "name": name,
            "entityName": ENTITY,
            "entity": {"id": global_id("Entity", "1"), "name": ENTITY},
            "createdAt": NOW,
            "isBenchmark": False,
            "readOnly": False,
        }

    def _file_view(self, name: str, path: Path, url: str) -> Json:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False)
        return {
            "__typename": "File",
            "id": global_id("File", name),
            "name": name,
            "url": url,
            "directUrl": url,
            "uploadUrl": url,
            "sizeBytes": path.stat().st_size,
            "md5": digest.hexdigest(),
            "digest": base64.b64encode(digest.digest()).decode(),
            "mimetype": None,
            "storagePath": None,
            "updatedAt": NOW,
        }

    def _run_view(self, run: Run, wanted_files: list[str] | None = None) -> Json:
        files = [
            self._file_view(name, path, self._run_file_url(run, name))
            for name, path in run.files.items()
            if not wanted_files or name in wanted_files
        ]
        return {
            "__typename": "Run",
            "id": run.id,
            "name": run.name,
            "displayName": run.name,
            "description": None,
            "notes": None,
            "tags": [],
            "group": None,
            "jobType": None,
            "commit": None,
            **run.attributes,
            "projectId": "1",
            "project": self._project_view(run.project),
            "user": {"name": ENTITY, "username": ENTITY},
            "state": run.state,
            "config": run.raw_config,
            "summaryMetrics": run.raw_summary,
            "systemMetrics": run.event_lines[-1] if run.event_lines else "{}",
            "wandbConfig": json.dumps({"t": {}}),
            "sweepName": run.attributes.get("sweepName"),
            "readOnly": False,
            "stopped": False,
            "createdAt": NOW,
            "heartbeatAt": NOW,
            **self._line_counts(run),
            "files": {**page(files), "uploadHeaders": []},
            "fileCount": len(run.files),
            **self._history_views(run),
            "outputArtifacts": page(self._artifact_view(a) for a in run.artifacts),
            "inputArtifacts": page(self._artifact_view(a) for a in run.used_artifacts),
        }

    def _line_counts(self, run: Run) -> Json:
        """Where a client that resumes the run has to go on."""
        return {
            "historyLineCount": len(run.history_lines),
            "eventsLineCount": len(run.event_lines),
            "logLineCount": len(run.console),
            "historyTail": json.dumps(run.history_lines[-1:]),
            "eventsTail": json.dumps(run.event_lines[-1:]),
        }

    def _history_views(self, run: Run) -> Json:
        rows = run.history
        keys: Json = {key: {"typeCounts": []} for row in rows for key in row}
        return {
            "history": [json.dumps(row) for row in rows],
            "events": [line for line in run.event_lines if line],
            "parquetHistory": {"parquetUrls": [], "liveData": rows},
            "historyKeys": {"keys": keys, "lastStep": rows[-1]["_step"] if rows else -1},
        }

    def _collection_view(self, artifact: Artifact) -> Json:
        return {
            "__typename": "ArtifactSequence",
            "id": global_id("ArtifactCollection", f"{artifact.project}/{artifact.collection}"),
            "name": artifact.collection,
            "project": self._project_view(artifact.project),
        }

    def _aliases_view(self, artifact: Artifact) -> list[Json]:
        return [
            {
                "__typename": "ArtifactAlias",
                "id": global_id("ArtifactAlias", f"{artifact.id}:{alias}"),
                "alias": alias,
                "artifactCollection": self._collection_view(artifact),
            }
            for alias in artifact.aliases
        ]

    def _manifest_url(self, artifact: Artifact) -> str:
        return self._blob_url(f"manifests/{artifact.manifest}")

    def _artifact_view(self, artifact: Artifact) -> Json:
        versions = self._versions(artifact.project, artifact.collection)
        latest = next((a for a in reversed(versions) if a.committed), None)
        newest = {"id": latest.id, "versionIndex": latest.version} if latest else None
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": {**self._collection_view(artifact), "latestArtifact": newest},
            "versionIndex": artifact.version,
            "artifactType": {"name": artifact.type},
            "description": artifact.description,
            "metadata": artifact.metadata,
            "aliases": self._aliases_view(artifact),
            "tags": [],
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "historyStep": None,
            "state": "COMMITTED" if artifact.committed else "PENDING",
            "size": sum(path.stat().st_size for path in artifact.files.values() if path.exists()),
            "fileCount": len(artifact.files),
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": artifact.id[:8],
            "createdAt": NOW,
            "updatedAt": NOW,
            "currentManifest": {
                "id": artifact.manifest,
                "file": {"directUrl": self._manifest_url(artifact)},
            },
            "createdBy": {
                "__typename": "Run",
                "id": global_id("Run", f"{artifact.project}:{artifact.run}"),
                "name": artifact.run,
                "project": self._project_view(artifact.project),
            },
        }

    def _artifact_files_view(self, artifact: Artifact, wanted: list[str] | None) -> Json:
        return page(
            self._file_view(name, path, self._blob_url(f"objects/{path.name}"))
            for name, path in artifact.files.items()
            if not wanted or name in wanted
        )

    def _manifest_view(self, number: str) -> Json:
        url = self._blob_url(f"manifests/{number}")
        return {"id": number, "file": {"id": number, "uploadUrl": url, "uploadHeaders": []}}

    # -- operations: the account and the server ---------------------------------------------------

    @operation("Viewer", "GetViewer", "GetDefaultEntity")
    def _viewer(self, _: Json) -> Json:
        viewer = {
            "id": global_id("User", "1"),
            "entity": ENTITY,
            "username": ENTITY,
            "name": ENTITY,
            "email": "me@localhost",
            "flags": json.dumps({"code_saving_enabled": True}),
            "admin": False,
            "deletedAt": None,
            "apiKeys": page([]),
            "teams": page([{"name": ENTITY}]),
            "defaultEntity": {"name": ENTITY},
        }
        return {"viewer": viewer}

    @operation("ServerFeaturesQuery", "ServerInfo")
    def _server_info(self, _: Json) -> Json:
        versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.0.1"}
        return {"serverInfo": {"cliVersionInfo": versions, "features": []}}

    # -- operations: runs -------------------------------------------------------------------------

    @operation("UpsertBucket")
    def _upsert_run(self, v: Json) -> Json:
        known = next((run for run in self.runs.values() if run.id == v.get("id")), None)
        key = (v.get("project") or "uncategorized", v.get("name") or self._number())
        inserted = known is None and key not in self.runs
        run = known or self._run_or_new(*key)
        run.raw_config = v.get("config") or run.raw_config
        run.raw_summary = v.get("summaryMetrics") or run.raw_summary
        if v.get("name"):  # a client that starts; one that only edits the run names its id alone
            run.state = v.get("state") or "running"
        names = {"groupName": "group", "display_name": "displayName", "sweep": "sweepName"}
        plain = ("displayName", "description", "notes", "tags", "jobType", "commit", "host", "repo")
        for sent in (*names, *plain):
            if v.get(sent) is not None:
                run.attributes[names.get(sent, sent)] = v[sent]
        return {"upsertBucket": {"bucket": self._run_view(run), "inserted": inserted}}

    @operation("RunResumeStatus")
    def _resume_status(self, v: Json) -> Json:
        run = self._run_of(v)
        bucket = self._run_view(run) if run else None
        return {"model": {**self._project_view(v["project"]), "bucket": bucket}}

    # -- operations: sweeps -----------------------------------------------------------------------

    @operation("UpsertSweep")
    def _upsert_sweep(self, v: Json) -> Json:
        name = f"sweep{self._number()}"
        self.sweeps[name] = Sweep(name, v["projectName"], v["config"])
        view = {"name": name, "project": self._project_view(v["projectName"])}
        return {"upsertSweep": {"sweep": view, "configValidationWarnings": []}}

    @operation("SweepWithRuns")
    def _query_sweep(self, v: Json) -> Json:
        sweep = self.sweeps[v["sweep"]]
        kept = {"id": global_id("Sweep", sweep.name), "name": sweep.name, "config": sweep.config}
        view = {**kept, "state": "RUNNING", "controller": None, "scheduler": None}
        return {"project": {"sweep": {**view, "runs": page([])}}}

    @operation("CreateAgent")
    def _create_agent(self, v: Json) -> Json:
        return {"createAgent": {"agent": {"id": self.sweeps[v["sweep"]].name}}}

    @operation("Heartbeat")
    def _agent_heartbeat(self, v: Json) -> Json:
        sweep = self.sweeps[v["id"]]
        commands: list[Json] = []
        if not any(json.loads(v["runState"]).values()):  # one run at a time
            if sweep.queue:
                args = {name: {"value": value} for name, value in sweep.queue.pop(0).items()}
                run = {"type": "run", "run_id": f"run{self._number()}", "args": args}
                commands.append({**run, "program": "train"})
            else:
                commands.append({"type": "exit"})
        return {"agentHeartbeat": {"agent": {"id": v["id"]}, "commands": json.dumps(commands)}}

    # -- operations: runs, files ------------------------------------------------------------------

    @operation("CreateRunFiles")
    def _create_run_files(self, v: Json) -> Json:
        run = self._run_or_new(v["project"], v["run"])
        files = [{"name": file, "uploadUrl": self._run_file_url(run, file)} for file in v["files"]]
        return {"createRunFiles": {"runID": run.id, "uploadHeaders": [], "files": files}}

    @operation("MarkRunFilesUploaded")
    def _mark_run_files_uploaded(self, _: Json) -> Json:
        return {"markRunFilesUploaded": {"success": True}}

    @operation(
        *("Run", "RunState", "RunFiles", "QueryRunInfo", "RunInfo"),
        *("RunFullHistory", "RunSampledHistory", "RunHistoryKeys", "RunParquetHistory"),
    )
    def _query_run(self, v: Json) -> Json:
        run = self._run_of(v)
        view = self._run_view(run, v.get("fileNames") or v.get("names")) if run else None
        if run and view and v.get("specs"):
            view = {**view, "sampledHistory": [sample(run.history, s) for s in v["specs"]]}
        project = {**self._project_view(v["project"]), "run": view, "bucket": view}
        return {"project": project, "model": project}

    @operation("HistoryPage")
    def _query_history_page(self, v: Json) -> Json:
        run = self.runs[v["project"], v["run"]]
        rows = [r for r in run.history if v["minStep"] <= r["_step"] < v["maxStep"]]
        view = {"history": [json.dumps(row) for row in rows]}
        return {"project": {**self._project_view(run.project), "run": view}}

    @operation("Runs")
    def _query_runs(self, v: Json) -> Json:
        if json.loads(v.get("filters") or "{}"):
            raise NotSpokenError("the test double does not filter runs")
        runs = [self._run_view(run) for run in self.runs.values() if run.project == v["project"]]
        if (v.get("order") or "").startswith("-"):
            runs.reverse()
        view = {**self._project_view(v["project"]), "runs": page(runs), "runCount": len(runs)}
        return {"project": view}

    @operation("RunOutputArtifacts")
    def _query_logged_artifacts(self, v: Json) -> Json:
        run = self.runs[v["project"], v["run"]]
        return self._run_artifacts_view(run, run.artifacts)

    @operation("RunInputArtifacts")
    def _query_used_artifacts(self, v: Json) -> Json:
        run = self.runs[v["project"], v["run"]]
        return self._run_artifacts_view(run, run.used_artifacts)

    def _run_artifacts_view(self, run: Run, artifacts: list[Artifact]) -> Json:
        view = {**self._run_view(run), "artifacts": page(map(self._artifact_view, artifacts))}
        return {"project": {**self._project_view(run.project), "run": view}}

    # -- operations: artifacts --------------------------------------------------------------------

    @operation("CreateArtifact")
    def _create_artifact(self, v: Json) -> Json:
        sent = v["input"]
        project, collection = sent["projectName"], sent["artifactCollectionName"]
        versions = self._versions(project, collection)
        same = (a for a in versions if a.committed and a.digest == sent["digest"])
        artifact = next(same, None) or self._new_artifact(sent, version=len(versions))
        artifact.run = artifact.run or sent.get("runName")
        if artifact.committed:
            added = [entry["alias"] for entry in sent.get("aliases") or []]
            self._move_aliases(artifact, list(dict.fromkeys([*artifact.aliases, *added])))
        self.client_ids[sent.get("clientID") or ""] = artifact.id
        run = self.runs.get((project, str(sent.get("runName"))))
        if run is not None and artifact not in run.artifacts:
            run.artifacts.append(artifact)
        return {"createArtifact": {"artifact": self._artifact_view(artifact)}}

    def _new_artifact(self, sent: Json, version: int) -> Artifact:
        artifact = Artifact(
            id=global_id("Artifact", self._number()),
            project=sent["projectName"],
            collection=sent["artifactCollectionName"],
            version=version,
            type=sent["artifactTypeName"],
            digest=sent["digest"],
            description=sent.get("description"),
            metadata=sent.get("metadata"),
            aliases=[entry["alias"] for entry in sent.get("aliases") or []],
        )
        self.artifacts[artifact.id] = artifact
        return artifact

    @operation("CreateArtifactManifest")
    def _create_manifest(self, v: Json) -> Json:
        artifact = self.artifacts[v["artifactID"]]
        artifact.manifest = self._number()
        view = self._manifest_view(artifact.manifest)
        return {"createArtifactManifest": {"artifactManifest": view}}

    @operation("UpdateArtifactManifest")
    def _update_manifest(self, v: Json) -> Json:
        view = self._manifest_view(v["artifactManifestID"])
        return {"updateArtifactManifest": {"artifactManifest": view}}

    @operation("CreateArtifactFiles")
    def _create_artifact_files(self, v: Json) -> Json:
        files = page(self._announce_file(sent) for sent in v["input"]["artifactFiles"])
        return {"createArtifactFiles": {"files": files}}

    def _announce_file(self, sent: Json) -> Json:
        """Where to put one file; nowhere when its bytes are already here."""
        path = f"objects/{base64.b64decode(sent['md5']).hex()}"
        target = self.blob(path)
        self.artifacts[sent["artifactID"]].files[sent["name"]] = target
        return {
            "storagePath": path,
            "uploadUrl": None if target.exists() else self._blob_url(path),
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"id": sent["artifactID"]},
        }

    @operation("CommitArtifact")
    def _commit_artifact(self, v: Json) -> Json:
        artifact = self.artifacts[v["artifactID"]]
        missing = [name for name, path in artifact.files.items() if not path.exists()]
        if missing:
            raise NotSpokenError(f"{artifact.name} was committed without {', '.join(missing)}")
        artifact.committed = True
        self._move_aliases(artifact, artifact.aliases)
        view = {"id": artifact.id, "digest": artifact.digest}
        return {"commitArtifact": {"artifact": view}}

    @operation("UpdateArtifact")
    def _update_artifact(self, v: Json) -> Json:
        sent = v.get("input") or v
        artifact = self.artifacts[sent["artifactID"]]
        artifact.metadata = sent.get("metadata") or artifact.metadata
        artifact.description = sent.get("description") or artifact.description
        if sent.get("aliases") is not None:
            self._move_aliases(artifact, [entry["alias"] for entry in sent["aliases"]])
        view = {"artifact": self._artifact_view(artifact)}
        return {"updateArtifact": view, "result": view}

    @operation("AddAliases")
    def _add_aliases(self, v: Json) -> Json:
        artifact = self.artifacts[v["input"]["artifactID"]]
        added = [entry["alias"] for entry in v["input"]["aliases"]]
        self._move_aliases(artifact, list(dict.fromkeys([*artifact.aliases, *added])))
        return {"result": {"success": True}}

    @operation("DeleteAliases")
    def _delete_aliases(self, v: Json) -> Json:
        artifact = self.artifacts[v["input"]["artifactID"]]
        gone = [entry["alias"] for entry in v["input"]["aliases"]]
        artifact.aliases = [alias for alias in artifact.aliases if alias not in gone]
        return {"result": {"success": True}}

    @operation("UseArtifact")
    def _use_artifact(self, v: Json) -> Json:
        sent = v.get("input") or v  # the two parts of the client say it differently
        artifact = self.artifacts[sent["artifactID"]]
        run = self.runs[sent["projectName"], sent["runName"]]
        if artifact not in run.used_artifacts:
            run.used_artifacts.append(artifact)
        return {"useArtifact": {"artifact": self._artifact_view(artifact)}}

    @operation("ClientIDMapping")
    def _client_id_mapping(self, v: Json) -> Json:
        return {"clientIDMapping": {"serverID": self.client_ids.get(v["clientID"])}}

    @operation("ArtifactMembershipByName", "ArtifactType")
    def _query_artifact_by_name(self, v: Json) -> Json:
        artifact = self._named_artifact(v["project"], v["name"])
        project = self._project_view(v["project"])
        if artifact is None:
            return {"project": {**project, "artifactCollectionMembership": None, "artifact": None}}
        view = self._artifact_view(artifact)
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": global_id("ArtifactCollectionMembership", artifact.id),
            "versionIndex": artifact.version,
            "createdAt": NOW,
            "aliases": view["aliases"],
            "artifactCollection": view["artifactSequence"],
            "artifact": view,
        }
        return {
            "project": {**project, "artifactCollectionMembership": membership, "artifact": view}
        }

    @operation("ArtifactByID", "FetchArtifactManifest", "ArtifactManifest")
    def _query_artifact_by_id(self, v: Json) -> Json:
        artifact = self.artifacts[v.get("id") or v["artifact_id"]]
        return {"artifact": self._artifact_view(artifact)}

    @operation("ArtifactCreatedBy")
    def _query_creator(self, v: Json) -> Json:
        artifact = self.artifacts[v["id"]]
        return {"artifact": {"createdBy": self._artifact_view(artifact)["createdBy"]}}

    @operation("ArtifactUsedBy")
    def _query_users(self, v: Json) -> Json:
        artifact = self.artifacts[v["id"]]
        users = [run for run in self.runs.values() if artifact in run.used_artifacts]
        return {"artifact": {"usedBy": page(self._run_view(run) for run in users)}}

    @operation("ArtifactFileURLsByManifestEntries")
    def _query_artifact_file_urls(self, v: Json) -> Json:
        artifact = self.artifacts[v["id"]]
        wanted = [entry["name"] for entry in v.get("entries") or []]
        files = self._artifact_files_view(artifact, wanted)
        return {"artifact": {"filesByManifestEntries": files}}

    @operation("GetArtifactMembershipFileUrls", "ArtifactMembershipFiles")
    def _query_artifact_files(self, v: Json) -> Json:
        artifact = self._named_artifact(v["project"], f"{v['collection']}:{v['alias']}")
        if artifact is None:
            raise KeyError(f"{v['collection']}:{v['alias']}")
        membership = {
            "artifact": self._artifact_view(artifact),
            "files": self._artifact_files_view(artifact, v.get("fileNames")),
        }
        collection = {"__typename": "ArtifactSequence", "artifactMembership": membership}
        return {"project": {**self._project_view(v["project"]), "artifactCollection": collection}}


class Listener(ThreadingHTTPServer):
    """A server for which a client that hangs up is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of a `Backend`: GraphQL, file streams, and blobs behind unsigned URLs."""

    backend: Backend
    protocol_version = "HTTP/1.1"

    def parse_request(self) -> bool:
        """Read a request; on a connection from before a `stop`, none is answered."""
        parsed = super().parse_request()
        if self.backend.stopped:
            self.close_connection = True
            return False
        return parsed

    def do_POST(self) -> None:
        body = self._body()
        if not self._authorized():
            return self._send(401, {"errors": [{"message": "this is not the API key"}]})
        path = self._path()
        stream = re.fullmatch(r"/files/[^/]+/([^/]+)/([^/]+)/file_stream", path)
        if path == "/graphql":
            return self._send(200, self.backend.answer(json.loads(body)))
        if stream:
            return self._send(200, self.backend.stream(stream[1], stream[2], json.loads(body)))
        return self._send(404, {"error": path})

    def do_PUT(self) -> None:
        body = self._body()
        kind, _, path = self._path().removeprefix("/").partition("/")
        if kind != "blob":
            return self._send(404, {"error": kind})
        try:
            self.backend.store(path, body)
        except ValueError as error:
            return self._send(400, {"error": str(error)})
        return self._send(200)

    def do_GET(self) -> None:
        kind, _, path = self._path().removeprefix("/").partition("/")
        try:
            content = self.backend.blob(path).read_bytes() if kind == "blob" else None
        except (OSError, ValueError):
            content = None
        if content is None:
            return self._send(404, {"error": path})
        return self._send(200, content)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what a test wants to know is in the backend's state."""

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _authorized(self) -> bool:
        expected = base64.b64encode(f"api:{self.backend.api_key}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _body(self) -> bytes:
        if (self.headers.get("Transfer-Encoding") or "").lower() == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _chunk(self) -> bytes:
        content = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return content

    def _send(self, status: int, content: Json | bytes = b"") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main(arguments: list[str]) -> None:
    """Serve until interrupted, after printing what a client needs to know."""
    if len(arguments) != 2 or not arguments[0].isdigit():
        sys.exit("usage: python tests/wandb_backend.py PORT FOLDER")
    with Backend(arguments[1], int(arguments[0])) as backend:
        print(f"export WANDB_BASE_URL={backend.url} WANDB_API_KEY={backend.api_key}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
