"""An API server of Kubernetes that serves the kinds of policies, and has no object of any.

It answers discovery, lists and watches, which is all that a limiter needs to be ready. Leases and
status are not served."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SERVED = {
    "toolgate.dev/v1alpha1": {"ratelimitpolicies": "RateLimitPolicy"},
    "toolhive.stacklok.dev/v1beta1": {"virtualmcpservers": "VirtualMCPServer", "mcpservers": "MCPServer"},
}


class EmptyCluster:
    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self) -> str:
        host, port = self.server.server_address[:2]
        return json.dumps({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "empty", "cluster": {"server": f"http://{host}:{port}"}}],
            "contexts": [{"name": "empty", "context": {"cluster": "empty", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
            "current-context": "empty",
        })


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        found = answer(url.path.strip("/").split("/"))
        if found and "watch" in parse_qs(url.query):
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("connection", "close")
            self.end_headers()
            # Nothing ever changes: it is open until the client closes it.
            self.rfile.read(1)
            return
        self.reply(200 if found else 404, found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def reply(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def answer(path: list[str]) -> dict[str, Any] | None:
    """What is at `path`: /apis, /apis/GROUP/VERSION, or a list of objects below."""
    if path == ["apis"]:
        groups = []
        for served in SERVED:
            group, version = served.split("/")
            version = {"groupVersion": served, "version": version}
            groups.append({"name": group, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path[:1] != ["apis"] or (kinds := SERVED.get("/".join(path[1:3]))) is None:
        return None
    group_version = "/".join(path[1:3])
    if len(path) == 3:
        resources = [
            {"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list", "watch"]}
            for name, kind in kinds.items()
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}
    if kind := kinds.get(path[-1]):
        metadata = {"resourceVersion": "1"}
        return {"kind": f"{kind}List", "apiVersion": group_version, "metadata": metadata, "items": []}
    return None
