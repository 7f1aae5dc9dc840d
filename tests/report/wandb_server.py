"""A server that answers W&B's client as far as uploading runs and saving a report goes."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ID = "VmlldzoxMjM0NQ=="
PROJECT = {"id": "p", "name": "anneal", "entityName": "us"}


class Server:
    """What was asked of it, and how it answers.

    Args:
        problem: said in place of saving a report.
        stalls: never answers the request to save one.
    """

    def __init__(self, *, problem: str | None = None, stalls: bool = False):
        self.problem, self.stalls = problem, stalls
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.streamed: list[dict[str, Any]] = []
        self.uploaded: dict[str, bytes] = {}  # file -> content
        self.address = ""
        self.over = threading.Event()

    def variables(self, operation: str) -> list[dict[str, Any]]:
        """Return the variables of each request for an operation."""
        return [variables for query, variables in self.asked if operation in query]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return what W&B's server would: only what the client reads."""
        self.asked.append((query, variables))
        if "upsertView" in query:
            if self.stalls:
                self.over.wait(60)
            if self.problem:
                return {"errors": [{"message": self.problem}], "data": None}
            view = {"id": ID, "type": "runs", "spec": variables["spec"], "project": PROJECT}
            view |= {key: variables[key] for key in ("name", "displayName", "description")}
            return {"data": {"upsertView": {"view": view, "inserted": True}}}
        if "upsertModel" in query:
            made = {"project": PROJECT, "model": PROJECT, "inserted": True}
            return {"data": {"result": made}}
        if "models(" in query:
            page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
            return {"data": {"models": {"pageInfo": page, "edges": []}}}
        if "upsertBucket" in query:
            project = {"id": "p", "name": "anneal", "entity": {"id": "e", "name": "us"}}
            bucket = {"id": "r", "name": variables.get("name"), "project": project, "config": "{}"}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if "createRunFiles" in query:
            files = [{"name": n, "uploadUrl": f"{self.address}/{n}"} for n in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}}
        if "viewer" in query:
            viewer = {"id": "u", "entity": "us", "username": "us", "flags": "{}"}
            return {"data": {"viewer": viewer | {"teams": {"edges": []}}}}
        return {"data": {}}


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve on this machine while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if body.startswith(b"\x1f\x8b"):
                body = gzip.decompress(body)
            answer: dict[str, Any] = {}
            if self.command == "PUT":
                server.uploaded[unquote(self.path).removeprefix("/")] = body
            if self.path.endswith("/graphql"):
                asked = json.loads(body)
                answer = server.answer(asked["query"], asked.get("variables") or {})
            elif self.path.endswith("/file_stream"):
                server.streamed.append(json.loads(body))
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_PUT = do_POST  # noqa: N815 - the name that http.server looks for

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        server.over.set()
        http.shutdown()
        http.server_close()
        thread.join(10)
