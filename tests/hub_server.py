#!/usr/bin/env python3
"""Plays the Hugging Face hub, and its faults, for tests/test_cli_hub.c. Only Python's standard library.

hub_server.py FOLDER: every folder OWNER/NAME below FOLDER is a model, of one revision. Prints "PORT PORT", the hub's and that of the
"CDN" which large files are redirected to, then serves until its stdin ends. The file FOLDER/faults, read at every request, has lines

    FAULT COUNT PATTERN     the next COUNT requests whose path contains PATTERN have FAULT

with FAULT one of: a status (401, 429, 500, ...), retry-SECONDS (429 with Retry-After), cut-BYTES (the connection ends after so many of
the body), flip (a wrong bit), short and long (another length than the list says), norange (Range is ignored), shift (the wrong
range), slow-SECONDS (before each of ten parts), page (a page to log in at, with 200), loop (a redirect to itself), downgrade (a redirect
to ftp), evil-NAME (the list names this file).
FOLDER/log gets a line for each request: "hub|cdn PATH range=... authorization=...".
"""
import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

root = sys.argv[1]
guard = threading.Lock()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1.0", "refs/pr/1", COMMIT)
LARGE = 1000  # bytes from which a file is in "LFS"


def take_fault(path):
    """The fault for this request, counted down."""
    with guard:
        try:
            with open(os.path.join(root, "faults")) as f:
                lines = [line.split() for line in f if line.strip()]
        except FileNotFoundError:
            return ""
        for line in lines:
            if int(line[1]) > 0 and line[2] in path:
                line[1] = str(int(line[1]) - 1)
                with open(os.path.join(root, "faults"), "w") as f:
                    f.writelines(" ".join(line) + "\n" for line in lines)
                return line[0]
    return ""


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    who = "hub"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        """As Python's huggingface_hub asks before it downloads."""
        self.do_GET()

    def do_GET(self):
        path = unquote(self.path)
        with guard, open(os.path.join(root, "log"), "a") as f:
            f.write(f"{self.who} {path} range={self.headers.get('Range')} authorization={self.headers.get('Authorization')}\n")
        fault = take_fault(self.who + path)
        if fault.isdigit():
            return self.answer(int(fault), b"<html>no</html>", X_Error_Message="as the test wants it")
        if fault.startswith("retry-"):
            return self.answer(429, b"", Retry_After=fault[6:])
        if fault == "page":
            return self.answer(200, b"<html>Welcome, please log in</html>", Content_Type="text/html")
        if fault == "loop":
            return self.answer(302, Location=self.path)
        if fault == "downgrade":
            return self.answer(302, Location="ftp://127.0.0.1/x")
        parts = path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.list(parts, fault)
        if len(parts) > 4 and parts[2] == "resolve" and parts[3] in REVISIONS:
            file = os.path.join(root, parts[0], parts[1], *parts[4:])
            if os.path.isfile(file):
                data = read(file)
                about = {"X_Repo_Commit": COMMIT, "ETag": f'"{git_hash(data)}"'}
                if len(data) >= LARGE and self.who == "hub":
                    where = f"http://127.0.0.1:{cdn.server_port}{self.path}?signed=1"
                    return self.answer(302, Location=where, X_Linked_Etag=f'"{hashlib.sha256(data).hexdigest()}"', X_Linked_Size=len(data), **about)
                if self.command == "HEAD":
                    return self.answer(200, Content_Length=len(data), **about)
                return self.content(data, fault)
        return self.answer(404, b"", X_Error_Message="Entry not found", X_Error_Code="EntryNotFound")

    def list(self, parts, fault):
        """As asked: api/models/OWNER/NAME[/revision/REVISION], or for Python api/models/OWNER/NAME/tree/COMMIT."""
        folder = os.path.join(root, parts[2], parts[3]) if len(parts) > 3 else ""
        revision = "/".join(parts[5:]) or "main"
        if not os.path.isdir(folder):
            return self.answer(401, b"", X_Error_Message="Repository not found")
        if revision not in REVISIONS:
            return self.answer(404, b"", X_Error_Message="Invalid rev id")
        siblings, tree = [], []
        for where, _, names in os.walk(folder):
            for name in names:
                data = read(os.path.join(where, name))
                path = os.path.relpath(os.path.join(where, name), folder)
                entry = {"rfilename": path, "size": len(data), "blobId": git_hash(data)}
                leaf = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
                if len(data) >= LARGE:
                    digest = hashlib.sha256(data).hexdigest()
                    entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
                    leaf["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
                siblings.append(entry)
                tree.append(leaf)
        if parts[4:5] == ["tree"]:
            return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        if fault.startswith("evil-"):
            siblings.append({"rfilename": fault[5:], "size": 1, "blobId": "0" * 40})
        return self.answer(200, json.dumps({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings}).encode())

    def content(self, data, fault):
        if fault == "flip":
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault == "short":
            data = data[:-1]
        if fault == "long":
            data += b"x"
        start, asked = 0, self.headers.get("Range")
        if asked and fault != "norange":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self.answer(416)
            self.send_response(206)
            shown = start + (1 if fault == "shift" else 0)
            self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault.startswith("cut-"):
            self.wfile.write(body[: int(fault[4:])])
            self.wfile.flush()
            self.close_connection = True
            return None
        parts = 10 if fault.startswith("slow-") else 1
        step = (len(body) + parts - 1) // parts or 1
        for at in range(0, len(body), step):
            if parts > 1:
                time.sleep(float(fault[5:]))
            try:
                self.wfile.write(body[at : at + step])
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                return None
        return None


class Cdn(Handler):
    who = "cdn"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that goes away is part of the tests."""


hub = Server(("127.0.0.1", 0), Handler)
cdn = Server(("127.0.0.1", 0), Cdn)
for server in (hub, cdn):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"{hub.server_port} {cdn.server_port}\n", end="", flush=True)  # at once, also where Python is told not to buffer
while os.read(0, 1):  # not sys.stdin, which may be anything
    pass
