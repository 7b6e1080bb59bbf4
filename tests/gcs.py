"""A server that speaks the XML language of Google Cloud Storage as its documentation has it, in front of one that speaks S3.

The two languages differ in the names of headers, in the conditions of a put (generations instead of ETags), and in that an
object that is not there cannot be deleted.
"""

from __future__ import annotations

import http.client
import http.server
import itertools
import re
import threading
from contextlib import contextmanager


@contextmanager
def gcs_server(s3_address):
    """Start a server that keeps what it is given in the S3 server; gives its address."""
    generations, numbers, lock = {}, itertools.count(1), threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            with lock:
                wanted = self.headers.get("x-goog-if-generation-match")
                if wanted is not None and wanted != str(generations.get(path, 0)):
                    self.send(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
                    return
                if self.command == "DELETE" and path not in generations:
                    self.send(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
                    return
                status, headers, content = self.pass_on(body)
                if self.command == "DELETE":
                    generations.pop(path, None)
                if self.command == "PUT" and status == 200:
                    generations[path] = next(numbers)
                if path in generations:
                    headers["x-goog-generation"] = str(generations[path])
            self.send(status, headers, content)

        def pass_on(self, body):
            given = {
                re.sub("^x-goog-meta-", "x-amz-meta-", name): text
                for name, text in self.headers.items()
                if name.lower() != "authorization"
            }
            given["Authorization"] = (
                "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
            )
            connection = http.client.HTTPConnection(s3_address.removeprefix("http://"), timeout=60)
            try:
                connection.request(self.command, self.path, body, given)
                response = connection.getresponse()
                headers = {
                    name.lower().replace("x-amz-", "x-goog-"): text for name, text in response.getheaders()
                }
                return response.status, headers, response.read()
            finally:
                connection.close()

        def send(self, status, headers, content):
            self.send_response_only(status)
            length = headers.get("content-length") if self.command == "HEAD" else str(len(content))
            for name, text in (headers | {"content-length": length or "0"}).items():
                if name not in ("transfer-encoding", "connection"):
                    self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
