"""A real S3 server (moto, in a process of its own) and a proxy that puts faults between it and its clients."""

from __future__ import annotations

import http.client
import http.server
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYsecret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def s3_server():
    """Start a server; gives its address."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=os.environ | ENVIRONMENT, **quiet)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(timeout=60)


class Proxy:
    """Passes requests on to a server, counts them, and does to some what `fault` says.

    `fault(number, method, path)` returns None or one of "500", "503", "slow", "reset", "lost" (the
    request arrives, its answer does not), "hang", "403" and "endless" (an answer that never ends); requests are
    numbered from 1.
    """

    def __init__(self, server):
        self.fault = lambda number, method, path: None
        self.counts = Counter()
        self.requests = []
        self._number, self._lock = 0, threading.Lock()
        self._host = server.removeprefix("http://")
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def do(self):
                proxy.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def reset(self):
        """Forget what was counted."""
        with self._lock:
            self.counts.clear()
            self.requests.clear()
            self._number = 0

    def answer(self, request):
        body = _body(request)
        with self._lock:
            self._number += 1
            number = self._number
            self.requests.append((request.command, request.path))
        fault = self.fault(number, request.command, request.path)
        self.counts[fault or "passed"] += 1
        if fault in ("500", "503", "403"):
            content = {"500": INTERNAL, "503": SLOW_DOWN, "403": b"<Error><Code>AccessDenied</Code></Error>"}[
                fault
            ]
            _send(request, int(fault), [("Content-Type", "application/xml")], content)
            return
        if fault == "hang":
            time.sleep(3)
        if fault in ("reset", "hang"):
            _reset(request)
            return
        if fault == "slow":
            time.sleep(0.3)
        status, headers, content = self._pass_on(request, body)
        if fault == "endless":
            _send_without_end(request, status, headers)
            return
        if fault == "lost":
            _reset(request)
            return
        _send(request, status, headers, content)

    def _pass_on(self, request, body):
        connection = http.client.HTTPConnection(self._host, timeout=60)
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()


def _body(request):
    if "chunked" in request.headers.get("Transfer-Encoding", ""):
        raise AssertionError("no client here sends chunks")
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))


def _send(request, status, headers, content):
    request.send_response_only(status)
    for name, value in headers:
        if name.lower() not in ("transfer-encoding", "connection", "content-length"):
            request.send_header(name, value)
    length = {name.lower(): value for name, value in headers}.get("content-length")
    request.send_header(
        "Content-Length", length if request.command == "HEAD" and length else str(len(content))
    )
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


def _send_without_end(request, status, headers):
    """Send zeros until the client has enough, below the headers of the answer that was asked for."""
    request.send_response_only(status)
    for name, value in headers:
        if name.lower() in ("content-range", "etag", "last-modified"):
            request.send_header(name, value)
    request.send_header("Content-Length", str(10**15))
    request.end_headers()
    request.close_connection = True
    while True:
        request.wfile.write(bytes(1 << 16))


def _reset(request):
    """End the connection with a reset instead of an answer."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True
    request.connection.close()


def create_bucket(server, name):
    request = urllib.request.Request(f"{server}/{name}", method="PUT")
    urllib.request.urlopen(request).close()


def overwrite(path, content):
    """Put other content at a `StorePath` under the metadata that the object has, as tools that know nothing of it may."""
    import boto3

    client, (bucket, _, key) = boto3.client("s3"), path.key.partition("/")
    metadata = client.head_object(Bucket=bucket, Key=key)["Metadata"]
    client.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)


def put_key(folder, name, content):
    """Put an object whose name may be one that no path has."""
    import boto3

    bucket, _, key = folder.key.partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{key}/{name}".lstrip("/"), Body=content)


def operation(method, path):
    """Return what S3 calls a request."""
    if method == "GET" and "list-type=2" in path:
        return "ListObjectsV2"
    if method == "POST" and "?delete" in path:
        return "DeleteObjects"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(
        method, re.sub(r"\?.*", "", path)
    )
