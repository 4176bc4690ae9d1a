"""A stand-in for a host of repositories: what `gh`, `glab` and Git ask of GitHub or GitLab.

It is a proxy for HTTPS on this machine, which answers in the place of the host itself, with a
certificate of its own:

    with CodeHost(folder, "github.com") as host:
        subprocess.run(["gh", …], env={**os.environ, **host.variables})
        assert host.requests[0]["title"] == …
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from listening import Listening
from package_index import make_certificates

TOKEN = "a-good-token"
OWNER_AND_NAME = ("acme", "digits")
NAME = "/".join(OWNER_AND_NAME)
# What `gh` and `glab` have to know of a repository before they open a request.
GITHUB = {
    "id": "R1",
    "name": "digits",
    "owner": {"id": "O1", "login": "acme"},
    "defaultBranchRef": {"name": "main"},
    "viewerPermission": "WRITE",
    "parent": None,
}
GITLAB = {
    "id": 7,
    "path_with_namespace": NAME,
    "default_branch": "main",
    "merge_requests_enabled": True,
}


class CodeHost(Listening):
    """A repository on a host, empty at first.

    Attributes:
        requests: pull or merge requests, as the API shows them.
        refuses: what the host says to whoever opens one; "" if it does not refuse.
        checks: how the last run of CI ended on a commit, by the commit.
        is_down: it answers nothing but 502.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.is_github = "github" in name
        self.requests: list[dict[str, Any]] = []
        self.refuses = ""
        self.checks: dict[str, str] = {}
        self.is_down = False
        self.folder = folder
        self.repository = folder / f"{NAME}.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.repository], check=True)
        for setting in ("http.receivepack", "receive.advertisePushOptions"):
            subprocess.run(["git", "config", setting, "true"], cwd=self.repository, check=True)
        self.pushed = self.repository / "pushed"
        hook = self.repository / "hooks/post-receive"
        hook.write_text(f"#!/bin/sh\n(cat; env | grep ^GIT_PUSH_OPTION_) > {self.pushed}\n")
        hook.chmod(0o755)
        names = f"DNS:{name},DNS:api.{name}"
        self.certificate, server, key = make_certificates(folder, names)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(server, key)
        handler = type("HostHandler", (Handler,), {"host": self})
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), handler))

    @property
    def url(self) -> str:
        return f"https://{self.name}/{NAME}.git"

    @property
    def variables(self) -> dict[str, str]:
        """What brings programs here, with a token and no settings of this machine's user."""
        proxy = f"http://127.0.0.1:{self._server.server_port}"
        helper = f"!f() {{ echo username=x; echo password={TOKEN}; }}; f"
        return {
            "HTTPS_PROXY": proxy,
            "SSL_CERT_FILE": str(self.certificate),
            "GIT_SSL_CAINFO": str(self.certificate),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "credential.helper",
            "GIT_CONFIG_VALUE_0": helper,
            "GH_CONFIG_DIR": str(self.folder / "gh"),
            "GLAB_CONFIG_DIR": str(self.folder / "glab"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            **dict.fromkeys(("GH_TOKEN", "GH_ENTERPRISE_TOKEN", "GITLAB_TOKEN"), TOKEN),
            **dict.fromkeys(("GITHUB_TOKEN", "GH_REPO", "GH_HOST", "GITLAB_HOST"), ""),
            **({} if self.is_github else {"GITLAB_HOST": self.name}),
        }

    def create(self, head: str, base: str, title: str, text: str) -> dict[str, Any]:
        """Open a request, in the words of both hosts."""
        number = len(self.requests) + 1
        path = f"pull/{number}" if self.is_github else f"-/merge_requests/{number}"
        address = f"https://{self.name}/{NAME}/{path}"
        opened = {"url": address, "head": head, "base": base, "title": title, "text": text}
        github = {"id": f"P{number}", "state": "OPEN", "isCrossRepository": False}
        gitlab = {"id": number, "iid": number, "web_url": address, "state": "opened"}
        self.requests.append({**opened, **(github if self.is_github else gitlab)})
        return self.requests[-1]

    def follow_push(self) -> None:
        """Do what the options of a push ask of GitLab: a request, or another title of it."""
        if self.is_github or not self.pushed.exists():
            return
        text = self.pushed.read_text()
        self.pushed.unlink()
        options = dict(re.findall(r"=merge_request\.(\w+)(?:=(.*))?$", text, re.MULTILINE))
        if "create" in options:
            (head,) = re.findall(r"refs/heads/(\S+)$", text, re.MULTILINE)
            known = [one for one in self.requests if one["head"] == head]
            request = known[-1] if known else self.create(head, options["target"], "", "")
            request["title"] = options["title"]


class Handler(BaseHTTPRequestHandler):
    """HTTPS in front of a `CodeHost`."""

    host: CodeHost
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.host.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)

    def do_GET(self) -> None:
        body = self._body()
        if self.host.is_down:
            return self._send(502, {"message": "Bad Gateway"})
        address = urlsplit(self.path)
        access = self.headers.get("Authorization", "") + self.headers.get("PRIVATE-TOKEN", "")
        if access.startswith("Basic "):
            access = base64.b64decode(access.removeprefix("Basic ")).decode()
        if TOKEN not in access:
            return self._send(401, {"message": "Bad credentials"}, ask=not access)
        if address.path.startswith(f"/{NAME}.git/"):
            return self._git(address.path, address.query, body)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path.endswith("/graphql"):
            return self._graphql(json.loads(body))
        path = unquote(address.path).removeprefix("/api/v4").removeprefix("/api/v3")
        return self._rest(path, query, json.loads(body or b"{}"))

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what a test wants to know is in the host's state."""

    def _graphql(self, asked: dict[str, Any]) -> None:
        variables = asked.get("variables") or {}
        if "createPullRequest" in asked["query"]:
            if self.host.refuses:
                error = {"type": "FORBIDDEN", "message": self.host.refuses}
                return self._send(200, {"data": {"createPullRequest": None}, "errors": [error]})
            new = variables["input"]
            words = (new["headRefName"], new["baseRefName"], new["title"], new["body"])
            opened = {"pullRequest": self.host.create(*words)}
            return self._send(200, {"data": {"createPullRequest": opened}})
        if (variables["owner"], variables.get("repo", variables.get("name"))) != OWNER_AND_NAME:
            return self._send(200, {"errors": [{"type": "NOT_FOUND", "message": "no such thing"}]})
        head = variables.get("headBranch", variables.get("headRefName"))
        states = variables.get("state", variables.get("states")) or ["OPEN"]
        found = [
            request
            for request in self.host.requests
            if request["head"] == head and request["state"] in states
        ]
        page = {"nodes": found, "totalCount": len(found), "pageInfo": {"hasNextPage": False}}
        repository = {**GITHUB, "pullRequests": page}
        return self._send(200, {"data": {"viewer": {"login": "bot"}, "repository": repository}})

    def _rest(self, path: str, query: dict[str, str], sent: dict[str, Any]) -> None:
        checks = self.host.checks
        if path.endswith("/actions/runs"):
            runs = [
                {"head_sha": commit, "workflow_id": 5, "status": "completed", "conclusion": end}
                for commit, end in checks.items()
            ]
            return self._send(200, {"total_count": len(runs), "workflow_runs": runs})
        if path.endswith("/actions/workflows"):
            return self._send(200, {"total_count": 1, "workflows": [{"id": 5, "name": "CI"}]})
        if path.endswith("/pipelines"):
            commit = query.get("sha", "")
            found = [{"id": 1, "sha": commit, "status": checks[commit]}] if commit in checks else []
            return self._send(200, found)
        if number := re.search(r"/(?:pulls|merge_requests)/(\d+)$", path):
            request = self.host.requests[int(number[1]) - 1]
            texts = {"title": "title", "body": "text", "description": "text"}
            request.update({texts[name]: sent[name] for name in texts if name in sent})
            return self._send(200, request)
        if path.endswith("/merge_requests") and self.command == "GET":
            head = query["source_branch"]
            return self._send(200, [one for one in self.host.requests if one["head"] == head])
        if path.endswith("/merge_requests"):
            if self.host.refuses:
                return self._send(403, {"message": self.host.refuses})
            names = ("source_branch", "target_branch", "title", "description")
            return self._send(201, self.host.create(*(sent[name] for name in names)))
        if path == f"/projects/{NAME}":
            return self._send(200, {**GITLAB, "http_url_to_repo": self.host.url})
        return self._send(404, {"message": "Not Found"})

    def _git(self, path: str, query: str, body: bytes) -> None:
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.host.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "bot",
        }
        command = ["git", "http-backend"]
        done = subprocess.run(
            command, input=body, env=environment, stdout=subprocess.PIPE, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(re.findall(r"(?m)^([\w-]+): (.*?)\r?$", head.decode()))
        self.host.follow_push()
        self.send_response(int(headers.pop("Status", "200")[:3]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, answer: object, ask: bool = False) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if ask:
            self.send_header("WWW-Authenticate", 'Basic realm="host"')
        self.end_headers()
        self.wfile.write(body)
