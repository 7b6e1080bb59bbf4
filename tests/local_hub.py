"""A loopback stand-in for the Hub, standard library only: real clients talk to it over HTTP.

State lives in memory; every commit is a full {path: entry} mapping, so old revisions stay readable. Requests are
kept in `hub.requests`. Faults: `hub.fail_next` maps part of an address to the statuses that are answered first;
`hub.cut_next` maps it to how many connections are cut instead of answered; `hub.slow_seconds` maps it to a pause before the answer.

Writes need the access token `hf_test_token_0123456789`, which is that of the user anna.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_test_token_0123456789"
TOKENS = {TOKEN: "anna"}
LFS_SUFFIXES = (".parquet", ".bin", ".safetensors", ".pt", ".wav", ".flac", ".npz", ".tar", ".arrow")
LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "cc0-1.0", "other")
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


def git_blob_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    def __init__(self, kind: str, name: str, private: bool):
        self.kind, self.name, self.private = kind, name, private
        self.created = time.time()
        self.commits: dict[
            str, dict
        ] = {}  # oid -> {"files": {...}, "parent": oid, "title": str, "date": float}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.prs = 0
        self.lock = threading.RLock()
        attrs = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
        self.commit("main", {".gitattributes": regular(attrs)}, "initial commit")

    def commit(self, branch: str, files: dict, title: str, description: str = "") -> str:
        with self.lock:
            parent = self.branches.get(branch)
            seed = json.dumps(
                [parent, title, description, sorted((p, e["oid"]) for p, e in files.items()), time.time_ns()]
            )
            oid = hashlib.sha1(seed.encode()).hexdigest()
            self.commits[oid] = {
                "files": files,
                "parent": parent,
                "title": title,
                "description": description,
                "date": time.time(),
            }
            self.branches[branch] = oid
            return oid

    def resolve(self, rev: str) -> str | None:
        rev = unquote(rev)
        for table in (self.branches, self.tags):
            if rev in table:
                return table[rev]
            short = rev.removeprefix("refs/heads/").removeprefix("refs/tags/")
            if short in table:
                return table[short]
        if rev in self.commits:
            return rev
        if len(rev) >= 7:
            for oid in self.commits:
                if oid.startswith(rev):
                    return oid
        return None


def regular(data: bytes) -> dict:
    return {"oid": git_blob_oid(data), "size": len(data), "data": data, "lfs": None, "date": time.time()}


class Hub:
    def __init__(self, lfs_bytes: int, multipart_bytes: int):
        self.lfs_bytes, self.multipart_bytes = lfs_bytes, multipart_bytes
        self.forget()

    def forget(self) -> None:
        self.cas_url: str | None = None  # where Xet is told to store
        self.xet_hashes: dict[str, str] = {}  # sha256 -> Xet's hash of what is stored there
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # sha256 -> content
        self.parts: dict[tuple[str, int], bytes] = {}
        self.lock = threading.RLock()
        self.requests: list[dict] = []  # method, path, status (None before the answer), bytes
        self.fail_next: dict[str, list[int]] = {}
        self.cut_next: dict[str, int] = {}
        self.slow_seconds: dict[str, float] = {}
        self.echo = None  # what the server says instead of answering, made from the token that it was sent


class Reply(Exception):
    def __init__(self, status: int, body=None, headers: dict | None = None):
        self.status, self.body, self.headers = status, body, headers or {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args):
        pass

    # ------------------------------------------------------------------ plumbing
    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            out = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    self.rfile.readline()
                    return b"".join(out)
                out.append(self.rfile.read(size))
                self.rfile.readline()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _user(self) -> str | None:
        auth = self.headers.get("Authorization", "")
        return TOKENS.get(auth.removeprefix("Bearer ").strip())

    def _need_write(self) -> str:
        user = self._user()
        if user is None:
            raise Reply(
                401, {"error": "Invalid username or password."}, {"X-Error-Message": "Invalid credentials"}
            )
        return user

    def _base(self) -> str:
        return f"http://{self.headers.get('Host')}"

    def _send(self, status: int, body=None, headers: dict | None = None) -> None:
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            data = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        else:
            data = body if body is not None else b""
        self.entry["status"] = status
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(data)))
        headers.setdefault("X-Request-Id", f"local-{time.time_ns()}")
        for k, v in headers.items():
            self.send_header(k, str(v))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path, query = parts.path, {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self._body()
        self.entry = {"method": self.command, "path": path, "status": None, "bytes": len(body)}
        self.hub.requests.append(self.entry)  # before the answer, so that whoever has it finds the entry
        try:
            for needle, seconds in self.hub.slow_seconds.items():
                if needle in path:
                    time.sleep(seconds)
            if self.hub.echo and (token := self.headers.get("Authorization", "").removeprefix("Bearer ")):
                said = f"Your token {self.hub.echo(token)} is odd"
                raise Reply(400, {"error": said}, {"X-Error-Message": said})
            for needle, statuses in self.hub.fail_next.items():
                if needle in path and statuses:
                    raise Reply(statuses.pop(0), {"error": "injected"}, {"Retry-After": "0"})
            for needle, count in self.hub.cut_next.items():
                if needle in path and count:
                    self.hub.cut_next[needle] -= 1
                    self.connection.shutdown(socket.SHUT_RDWR)
                    raise ConnectionResetError
            for method, pattern, func in ROUTES:
                m = re.fullmatch(pattern, path)
                if m and self.command in method.split("|"):
                    func(self, query, body, *m.groups())
                    break
            else:
                raise Reply(404, {"error": f"no route {self.command} {path}"})
        except Reply as r:
            self._send(r.status, r.body, r.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.entry["status"] = 499

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def repo(self, kinds: str, name: str) -> Repo:
        r = self.hub.repos.get((KINDS[kinds], unquote(name)))
        if r is None or (r.private and self._user() is None):
            status = 401 if self._user() is None else 404
            raise Reply(
                status,
                {"error": "Repository not found"},
                {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
            )
        return r

    def rev(self, r: Repo, rev: str | None) -> str:
        oid = r.resolve(rev or "main")
        if oid is None:
            raise Reply(
                404,
                {"error": f"Invalid rev id: {rev}"},
                {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {rev}"},
            )
        return oid


ROUTES: list[tuple[str, str, object]] = []


def route(methods: str, pattern: str):
    def deco(func):
        ROUTES.append((methods, pattern, func))
        return func

    return deco


K = r"(models|datasets|spaces)"
R = r"([^/]+/[^/]+)"


# ---------------------------------------------------------------------- account and repositories
@route("GET", r"/api/whoami-v2")
def whoami(h, q, body):
    user = h._need_write()
    h._send(
        200,
        {
            "type": "user",
            "id": "0",
            "name": user,
            "fullname": user,
            "email": None,
            "emailVerified": True,
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": {"displayName": "t", "role": "write"}},
        },
    )


@route("POST", r"/api/repos/create")
def create(h, q, body):
    user = h._need_write()
    d = json.loads(body)
    owner = d.get("organization") or user
    if owner != user:
        raise Reply(403, {"error": "You don't have the rights to create a repo under this namespace"})
    name = d["name"] if "/" in d["name"] else f"{owner}/{d['name']}"
    kind = d.get("type") or "model"
    prefix = "" if kind == "model" else f"{kind}s/"
    url = f"{h._base()}/{prefix}{name}"
    private = bool(d.get("private")) or d.get("visibility") == "private"
    with h.hub.lock:
        if (kind, name) in h.hub.repos:
            raise Reply(409, {"error": "You already created this repo", "url": url, "name": name})
        h.hub.repos[kind, name] = Repo(kind, name, private)
    h._send(200, {"url": url, "name": name, "id": "0"})


@route("DELETE", r"/api/repos/delete")
def delete(h, q, body):
    user = h._need_write()
    d = json.loads(body)
    name = d["name"] if "/" in d["name"] else f"{d.get('organization') or user}/{d['name']}"
    if h.hub.repos.pop((d.get("type") or "model", name), None) is None:
        raise Reply(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
    h._send(200, b"OK")


@route("PUT", rf"/api/{K}/{R}/settings")
def settings(h, q, body, kinds, name):
    h._need_write()
    r = h.repo(kinds, name)
    d = json.loads(body)
    if "private" in d or "visibility" in d:
        r.private = bool(d.get("private")) or d.get("visibility") == "private"
    h._send(200, {"private": r.private})


def info(h, r: Repo, oid: str) -> dict:
    c = r.commits[oid]
    iso = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(c["date"]))
    sib = []
    for p, e in sorted(c["files"].items()):
        s = {"rfilename": p, "size": e["size"], "blobId": e["oid"]}
        if e["lfs"]:
            s["lfs"] = {"sha256": e["lfs"], "size": e["size"], "pointerSize": 134}
        sib.append(s)
    return {
        "_id": "0",
        "id": r.name,
        "modelId": r.name,
        "author": r.name.split("/")[0],
        "sha": oid,
        "lastModified": iso,
        "createdAt": iso,
        "private": r.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": {},
        "siblings": sib,
        "usedStorage": sum(e["size"] for e in c["files"].values()),
    }


@route("GET|HEAD", rf"/api/{K}/{R}")
def repo_info(h, q, body, kinds, name):
    r = h.repo(kinds, name)
    h._send(200, info(h, r, h.rev(r, None)))


@route("GET|HEAD", rf"/api/{K}/{R}/revision/([^/]+)")
def repo_info_rev(h, q, body, kinds, name, rev):
    r = h.repo(kinds, name)
    h._send(200, info(h, r, h.rev(r, rev)))


@route("GET", rf"/api/{K}/{R}/refs")
def refs(h, q, body, kinds, name):
    r = h.repo(kinds, name)
    h._send(
        200,
        {
            "branches": [
                {"name": b, "ref": f"refs/heads/{b}", "targetCommit": o} for b, o in r.branches.items()
            ],
            "tags": [{"name": b, "ref": f"refs/tags/{b}", "targetCommit": o} for b, o in r.tags.items()],
            "converts": [],
            "pullRequests": [],
        },
    )


@route("POST", rf"/api/{K}/{R}/branch/([^/]+)")
def branch(h, q, body, kinds, name, b):
    h._need_write()
    r = h.repo(kinds, name)
    d = json.loads(body or b"{}")
    if unquote(b) in r.branches:
        raise Reply(409, {"error": "Reference already exists"})
    r.branches[unquote(b)] = h.rev(r, d.get("startingPoint"))
    h._send(200, {})


@route("POST", rf"/api/{K}/{R}/tag/([^/]+)")
def tag(h, q, body, kinds, name, rev):
    h._need_write()
    r = h.repo(kinds, name)
    d = json.loads(body)
    if d["tag"] in r.tags:
        raise Reply(409, {"error": "Tag already exists"})
    r.tags[d["tag"]] = h.rev(r, rev)
    h._send(200, {})


@route("DELETE", rf"/api/{K}/{R}/tag/([^/]+)")
def delete_tag(h, q, body, kinds, name, tag):
    h._need_write()
    h.repo(kinds, name).tags.pop(unquote(tag))
    h._send(200, b"")


@route("GET", rf"/api/{K}/{R}/commits/([^/]+)")
def commits(h, q, body, kinds, name, rev):
    r = h.repo(kinds, name)
    oid, out = h.rev(r, rev), []
    while oid:
        c = r.commits[oid]
        out.append(
            {
                "id": oid,
                "title": c["title"],
                "message": c["description"],
                "date": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(c["date"])),
                "authors": [{"user": "anna"}],
            }
        )
        oid = c["parent"]
    h._send(200, out, {"X-Total-Count": str(len(out))})


# ---------------------------------------------------------------------- listing
def entry_json(p: str, e: dict, expand: bool) -> dict:
    d = {"type": "file", "path": p, "oid": e["oid"], "size": e["size"]}
    if e["lfs"]:
        d["lfs"] = {"oid": e["lfs"], "size": e["size"], "pointerSize": 134}
    if expand:
        d["lastCommit"] = {
            "id": "0" * 40,
            "title": "",
            "date": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(e["date"])),
        }
        d["securityFileStatus"] = {"status": "safe"}
    return d


@route("GET", rf"/api/{K}/{R}/tree/([^/]+)(?:/(.*))?")
def tree(h, q, body, kinds, name, rev, sub):
    r = h.repo(kinds, name)
    files = r.commits[h.rev(r, rev)]["files"]
    sub = unquote(sub or "").strip("/")
    recursive = q.get("recursive", "").lower() in ("true", "1")
    expand = q.get("expand", "").lower() in ("true", "1")
    out, dirs = [], set()
    for p, e in sorted(files.items()):
        if sub and not p.startswith(sub + "/"):
            continue
        rest = p[len(sub) + 1 if sub else 0 :]
        segs = rest.split("/")
        for i in range(1, len(segs)):
            if recursive or i == 1:
                dirs.add("/".join(([sub] if sub else []) + segs[:i]))
        if recursive or len(segs) == 1:
            out.append(entry_json(p, e, expand))
    if sub and not out and not dirs:
        raise Reply(
            404,
            {"error": f"{sub} does not exist on {rev}"},
            {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"},
        )
    for d in sorted(dirs):
        item = {"type": "directory", "path": d, "oid": hashlib.sha1(d.encode()).hexdigest(), "size": 0}
        if expand:
            item["lastCommit"] = {"id": "0" * 40, "title": "", "date": "2026-01-01T00:00:00.000Z"}
        out.append(item)
    limit = int(q.get("limit", 1000))
    start = int(q.get("cursor", 0))
    headers = {}
    if start + limit < len(out):
        keep = "&".join(f"{k}={v}" for k, v in q.items() if k != "cursor")
        headers["Link"] = f'<{h._base()}{urlsplit(h.path).path}?{keep}&cursor={start + limit}>; rel="next"'
    h._send(200, out[start : start + limit], headers)


@route("POST", rf"/api/{K}/{R}/paths-info/([^/]+)")
def paths_info(h, q, body, kinds, name, rev):
    r = h.repo(kinds, name)
    files = r.commits[h.rev(r, rev)]["files"]
    if "json" in h.headers.get("Content-Type", ""):
        d = json.loads(body)
        paths, expand = d["paths"], bool(d.get("expand"))
    else:
        form = parse_qs(body.decode())
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    paths = [paths] if isinstance(paths, str) else paths
    out = []
    for p in paths:
        p = p.strip("/")
        if p in files:
            out.append(entry_json(p, files[p], expand))
        elif any(f.startswith(p + "/") for f in files):
            out.append(
                {"type": "directory", "path": p, "oid": hashlib.sha1(p.encode()).hexdigest(), "size": 0}
            )
    h._send(200, out)


# ---------------------------------------------------------------------- writing
@route("POST", r"/api/validate-yaml")
def validate_yaml(h, q, body):
    """Refuse licences and languages as the Hub does."""
    head = re.match(r"---\n(.*?)^---\n", json.loads(body)["content"], flags=re.DOTALL | re.MULTILINE)
    lines = head[1] if head else ""
    licences = re.findall(r"^license: (.*)$", lines, flags=re.MULTILINE)
    listed = re.search(r"^language:\n((?:- .*\n)+)", lines, flags=re.MULTILINE)
    languages = re.findall(r"- (.*)\n", listed[1] if listed else "")
    errors = [] if head else ["there is no YAML head"]
    errors += ['"license" must be one of [mit, cc-by-4.0, ...]'] * any(
        item not in LICENCES for item in licences
    )
    errors += ['"language" must be ISO 639 codes'] * any(not re.fullmatch("[a-z]{2,3}", x) for x in languages)
    h._send(400 if errors else 200, {"errors": [{"message": item} for item in errors], "warnings": []})


@route("POST", rf"/api/{K}/{R}/preupload/([^/]+)")
def preupload(h, q, body, kinds, name, rev):
    h._need_write()
    r = h.repo(kinds, name)
    files = r.commits[h.rev(r, rev)]["files"]
    out = []
    ignore = [line.strip() for line in json.loads(body).get("gitIgnore", "").splitlines() if line.strip()]
    for f in json.loads(body)["files"]:
        lfs = f["path"].endswith(LFS_SUFFIXES) or f["size"] > h.hub.lfs_bytes
        d = {
            "path": f["path"],
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": any(fnmatch.fnmatch(f["path"], g) for g in ignore),
        }
        if f["path"] in files:  # remote oid lets the client skip files that did not change
            e = files[f["path"]]
            d["oid"] = e["lfs"] or e["oid"]
        out.append(d)
    h._send(200, {"files": out})


@route("POST", rf"/(?:(datasets|spaces)/)?{R}\.git/info/lfs/objects/batch")
def lfs_batch(h, q, body, kinds, name):
    h._need_write()
    h.repo(kinds or "models", name)
    d = json.loads(body)
    if h.hub.cas_url is not None and "xet" in d.get("transfers", []):
        objects = [{"oid": o["oid"], "size": o["size"]} for o in d["objects"]]
        h._send(
            200, {"transfer": "xet", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"}
        )
        return
    out, mp = [], "multipart" in d.get("transfers", [])
    for o in d["objects"]:
        oid, size = o["oid"], o["size"]
        item = {"oid": oid, "size": size, "authenticated": True}
        if oid not in h.hub.objects:
            n = h.hub.multipart_bytes
            if mp and size > n:
                header = {"chunk_size": str(n)}
                for i in range(1, -(-size // n) + 1):
                    header[f"{i:05d}"] = f"{h._base()}/_lfs/{oid}/part/{i}"
                up = {"href": f"{h._base()}/_lfs/{oid}/complete", "header": header}
            else:
                up = {"href": f"{h._base()}/_lfs/{oid}"}
            prefix = f"{kinds}/" if kinds else ""
            item["actions"] = {
                "upload": up,
                "verify": {"href": f"{h._base()}/{prefix}{name}.git/info/lfs/objects/verify"},
            }
        out.append(item)
    any_mp = any("chunk_size" in o.get("actions", {}).get("upload", {}).get("header", {}) for o in out)
    h._send(
        200,
        {"transfer": "multipart" if any_mp else "basic", "objects": out},
        {"Content-Type": "application/vnd.git-lfs+json"},
    )


@route("POST", rf"/(?:(datasets|spaces)/)?{R}\.git/info/lfs/objects/verify")
def lfs_verify(h, q, body, kinds, name):
    d = json.loads(body)
    data = h.hub.objects.get(d["oid"])
    if data is None or len(data) != d["size"]:
        raise Reply(404, {"message": "object missing"})
    h._send(200, b"OK")


@route("PUT", r"/_lfs/([0-9a-f]{64})")
def lfs_put(h, q, body, oid):
    if hashlib.sha256(body).hexdigest() != oid:
        raise Reply(400, {"error": "sha256 mismatch"})
    h.hub.objects[oid] = body
    h._send(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})


@route("PUT", r"/_lfs/([0-9a-f]{64})/part/(\d+)")
def lfs_part(h, q, body, oid, i):
    h.hub.parts[oid, int(i)] = body
    h._send(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})


@route("POST", r"/_lfs/([0-9a-f]{64})/complete")
def lfs_complete(h, q, body, oid):
    d = json.loads(body)
    data = b"".join(h.hub.parts.pop((oid, p["partNumber"])) for p in d["parts"])
    if hashlib.sha256(data).hexdigest() != oid:
        raise Reply(400, {"error": "sha256 mismatch"})
    h.hub.objects[oid] = data
    h._send(200, {})


@route("GET", rf"/api/{K}/{R}/xet-(read|write)-token/(.*)")
def xet_token(h, q, body, kinds, name, mode, rev):
    if h.hub.cas_url is None:
        raise Reply(404, {"error": "no xet here"})
    exp = int(time.time()) + 3600
    h._send(
        200,
        {"casUrl": h.hub.cas_url, "exp": exp, "accessToken": "local"},
        {"X-Xet-Cas-Url": h.hub.cas_url, "X-Xet-Access-Token": "local", "X-Xet-Token-Expiration": str(exp)},
    )


@route("POST", rf"/api/{K}/{R}/commit/([^/]+)")
def commit(h, q, body, kinds, name, rev):
    h._need_write()
    r = h.repo(kinds, name)
    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    head = next(line["value"] for line in lines if line["key"] == "header")
    with r.lock:
        base = h.rev(r, rev)
        target = unquote(rev)
        pr = None
        if q.get("create_pr") in ("1", "true"):
            r.prs += 1
            pr, target = r.prs, f"refs/pr/{r.prs}"
        parent = head.get("parentCommit")
        if parent and not base.startswith(parent) and pr is None:
            raise Reply(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(r.commits[base]["files"])
        for line in lines:
            v = line["value"]
            if line["key"] == "file":
                files[v["path"]] = regular(
                    base64.b64decode(v["content"]) if v.get("encoding") == "base64" else v["content"].encode()
                )
            elif line["key"] == "lfsFile":
                data = h.hub.objects.get(v["oid"])
                if data is None and h.hub.cas_url is None:
                    raise Reply(400, {"error": f"LFS object {v['oid']} was not uploaded"})
                size = len(data) if data is not None else v["size"]
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{v['oid']}\nsize {size}\n".encode()
                files[v["path"]] = {
                    "oid": git_blob_oid(pointer),
                    "size": size,
                    "data": None,
                    "lfs": v["oid"],
                    "date": time.time(),
                }
            elif line["key"] == "deletedFile":
                if files.pop(v["path"], None) is None:
                    raise Reply(
                        404, {"error": f"{v['path']} does not exist"}, {"X-Error-Code": "EntryNotFound"}
                    )
            elif line["key"] == "deletedFolder":
                for p in [p for p in files if p.startswith(v["path"].rstrip("/") + "/")]:
                    del files[p]
        oid = r.commit(target, files, head.get("summary", ""), head.get("description", ""))
    prefix = "" if kinds == "models" else f"{kinds}/"
    out = {
        "success": True,
        "commitOid": oid,
        "commitUrl": f"{h._base()}/{prefix}{r.name}/commit/{oid}",
        "hookOutput": "",
    }
    if pr:
        out["pullRequestUrl"] = f"{h._base()}/{prefix}{r.name}/discussions/{pr}"
    h._send(200, out)


# ---------------------------------------------------------------------- reading
@route("GET|HEAD", rf"/(?:api/)?(?:(datasets|spaces|models)/)?{R}/(?:resolve|raw)/([^/]+)/(.+)")
def resolve(h, q, body, kinds, name, rev, path):
    r = h.repo(kinds or "models", name)
    oid = h.rev(r, rev)
    e = r.commits[oid]["files"].get(unquote(path))
    if e is None:
        raise Reply(
            404,
            b"Entry not found",
            {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": oid},
        )
    headers = {
        "X-Repo-Commit": oid,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{path.split("/")[-1]}"',
        "Content-Type": "application/octet-stream",
    }
    if e["lfs"]:
        headers |= {
            "X-Linked-Size": str(e["size"]),
            "X-Linked-ETag": f'"{e["lfs"]}"',
            "ETag": f'"{e["lfs"]}"',
        }
        if e["lfs"] in h.hub.xet_hashes:
            if h.command != "HEAD":
                raise Reply(500, {"error": "this file is stored with Xet only"})
            route = f"{h._base()}/api/{kinds or 'models'}/{name}/xet-read-token/{oid}"
            headers |= {"X-Xet-Hash": h.hub.xet_hashes[e["lfs"]], "X-Xet-Refresh-Route": route}
            h._send(200, b"", headers | {"Content-Length": str(e["size"])})
            return
        data = h.hub.objects[e["lfs"]]
    else:
        headers["ETag"] = f'"{e["oid"]}"'
        data = e["data"]
    rng = h.headers.get("Range")
    if rng and (m := re.fullmatch(r"bytes=(\d*)-(\d*)", rng)):
        n = len(data)
        if m[1]:
            a, b = int(m[1]), min(int(m[2]) if m[2] else n - 1, n - 1)
        else:
            a, b = max(0, n - int(m[2])), n - 1
        if a > b:
            raise Reply(416, b"", headers | {"Content-Range": f"bytes */{n}"})
        h._send(206, data[a : b + 1], headers | {"Content-Range": f"bytes {a}-{b}/{n}"})
        return
    if h.command == "HEAD":
        headers["Content-Length"] = str(len(data))
    h._send(200, data, headers)


def serve(port: int = 0, *, lfs_bytes: int = 10_000_000, multipart_bytes: int = 5_000_000):
    """Start in a daemon thread; returns (server, endpoint)."""
    hub = Hub(lfs_bytes, multipart_bytes)
    cls = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", port), cls)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"
