"""A stand-in for the hub on this machine: what uploads and downloads ask, with repositories that are kept in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN, READER = "hf_may_write", "hf_may_read"
COMMIT = "a" * 40  # every commit is called so
FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)")
LARGE = (".safetensors",)  # go by LFS, as on the hub


@dataclass
class StandIn:
    """The hub's state: files by repository and path, and what was asked."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # of LFS, by SHA-256
    commits: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    address: str = ""


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A hub that answers on a port of this machine."""
    state = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: StandIn
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if (file := FILE.fullmatch(self.path.partition("?")[0])) is not None:
            self._download(self.state.repositories.get(file["repository"], {}).get(file["path"]))
            return
        if not self._known(self.path):
            return
        repository = self.path.removeprefix("/api/models/")
        if self.path == "/api/whoami-v2":
            self._answer(200, {"type": "user", "name": "owner", "auth": {"accessToken": {"role": "write"}}})
        elif repository in self.state.repositories:
            self._answer(200, {"id": repository})
        else:
            self._answer(404, {"error": "Repository not found"})

    def do_PUT(self) -> None:
        body = self._body()
        self.state.objects[self.path.rpartition("/")[2]] = body
        self._answer(200, {})

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif not self._known(path):
            return
        elif self.headers.get("Authorization") != "Bearer " + TOKEN:
            self._answer(403, {"error": "You don't have the rights to create a model under the namespace"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for f in files
            ]
            self._answer(200, {"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            self._answer(200, {"transfer": "basic", "objects": [self._action(one) for one in wanted]})
        elif "/commit/" in path:
            self._commit(path.removeprefix("/api/models/").partition("/commit/")[0], body)
        else:
            self._answer(404, {"error": f"nothing at {path}"})

    def _download(self, content: bytes | None) -> None:
        """A file of a repository, which anyone may read; as the hub does, with the commit that it is of."""
        headers = {"X-Repo-Commit": COMMIT}
        if content is None:
            self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, content, {**headers, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.state.repositories:
            self._answer(409, {"error": "You already created this model repo", "url": f"{self.state.address}/{name}"})
            return
        self.state.repositories[name] = {}
        self.state.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
        self._answer(200, {"url": f"{self.state.address}/{name}"})

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.state.address}/objects/{wanted['oid']}"}
        there = wanted["oid"] in self.state.objects
        return {**wanted, **({} if there else {"actions": {"upload": upload}})}

    def _commit(self, repository: str, body: bytes) -> None:
        files = self.state.repositories[repository]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.state.commits.append(value["summary"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.objects[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        url = f"{self.state.address}/{repository}/commit/{COMMIT}"
        self._answer(200, {"commitUrl": url, "commitOid": COMMIT, "success": True})

    def _known(self, path: str) -> bool:
        """Whether the token is one that the hub knows; the answer says no otherwise."""
        self.state.asked.append(f"{self.command} {path}")
        known = self.headers.get("Authorization") in (f"Bearer {TOKEN}", f"Bearer {READER}")
        if not known:
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        return known

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal of the tests."""
