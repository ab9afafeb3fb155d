"""Every route, as everybody: what a role may do is what its rights say, and credentials that are not quite right are none."""
import base64
import json

import pytest
from berthpool import pool  # noqa: F401
from ws import Refused

ROLES = ("user", "worker", "auditor", "operator", "admin")


@pytest.fixture(scope="module")
def tokens(pool):
    made = {role: pool.account(f"role-{role}", role)[1] for role in ROLES}
    # A key of an admin that may do one thing only is no admin's.
    _, admin = pool.account("role-scoped", "admin")
    made["scoped"] = pool.good("POST", "/api/v1/keys", {"label": "scoped", "scopes": ["task.read"]}, token=admin)["key"]
    return made


def routes(pool):
    return [(way.upper(), path, operation) for path, ways in pool.document["paths"].items() for way, operation in ways.items()]


def example(path):
    for name, value in (("{task}", "task_" + "0" * 32), ("{worker}", "worker_" + "0" * 32), ("{account}", "account_" + "0" * 32), ("{key}", "key_" + "0" * 32),
                        ("{sha256}", "0" * 64), ("{file}", "page-00000000.js"), ("{model}", "none")):
        path = path.replace(name, value)
    assert "{" not in path
    return path


def head_of(pool, way, path, token):
    """Only the status of the answer: streams have no end."""
    lines = [f"{way} {example(path)} HTTP/1.1", "Host: x", "Content-Length: 0", "Connection: close"]
    if token:
        lines.append("Authorization: Bearer " + token)
    with pool.socket() as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        got = b""
        while b"\r\n\r\n" not in got:
            part = sock.recv(4096)
            assert part, f"{way} {path}: no answer"
            got += part
    head = got.split(b"\r\n\r\n")[0].decode()
    return int(head.split()[1]), head


def test_nobody_comes_in_without_identity(pool):
    for way, path, operation in routes(pool):
        status, head = head_of(pool, way, path, None)
        if operation["x-right"] == "none":
            assert status not in (401, 403), (way, path, head)
        else:
            assert status == 401 and "WWW-Authenticate: Bearer" in head, (way, path, head)


@pytest.mark.parametrize("who", [*ROLES, "scoped"])
def test_every_route_as(pool, tokens, who):
    rights = set(pool.good("GET", "/api/v1/me", token=tokens[who])["rights"])
    if who == "scoped":
        assert "account.change" not in rights
    refused = 0
    for way, path, operation in routes(pool):
        right = operation["x-right"]
        status, head = head_of(pool, way, path, tokens[who])
        if right != "none" and right not in rights:
            assert status == 403, f"{who} got {status} from {way} {path}, which needs {right}"
            refused += 1
        elif path not in ("/api/v1/keys/{key}", "/api/v1/accounts/{account}/password"):
            assert status not in (401, 403), f"{who} has {right} and got {status} from {way} {path}"
    assert refused or who == "admin"


def test_refused_management_is_audited(pool, tokens):
    assert pool.ask("POST", "/api/v1/accounts", {"name": "never", "role": "admin"}, token=tokens["user"]).status == 403
    rows = [row["data"] for row in pool.good("GET", "/api/v1/audit?limit=1000")["data"]]
    assert any(row["name"] == "role-user" and row["outcome"] < 0 and "account" in row["verb"] for row in rows), rows[:5]


def test_nobody_gives_more_than_they_have(pool, tokens):
    operator = tokens["operator"]
    me = pool.good("GET", "/api/v1/me", token=operator)
    assert pool.ask("PATCH", "/api/v1/accounts/" + me["account"], {"role": "admin"}, token=operator, headers={"If-Match": "*"}).status == 403
    wishful = pool.ask("POST", "/api/v1/keys", {"label": "x", "scopes": ["account.change"]}, token=operator)
    assert wishful.status == 403 or pool.ask("POST", "/api/v1/accounts", {"name": "more"}, token=wishful.json["key"]).status == 403
    scoped = tokens["scoped"]
    assert pool.ask("POST", "/api/v1/keys", {"label": "x"}, token=scoped).status == 403
    user = pool.good("GET", "/api/v1/me", token=tokens["user"])
    assert pool.ask("POST", "/api/v1/keys", {"label": "x", "account": me["account"]}, token=tokens["user"]).status in (403, 404)
    assert pool.ask("GET", f"/api/v1/keys?account={me['account']}", token=tokens["user"]).status == 403
    assert pool.ask("POST", f"/api/v1/accounts/{user['account']}/password", {"password": "correct horse battery"}, token=operator).status == 403


def test_others_tasks_do_not_exist(pool, tokens):
    mine = pool.submit()
    path = "/api/v1/tasks/" + mine["id"]
    for way, rest, body in (("GET", "", None), ("GET", "/log", None), ("GET", "/why", None), ("GET", "/result", None), ("GET", "/events", None),
                            ("PATCH", "", {"priority": "high"}), ("DELETE", "", None), ("POST", "/cancel", {})):
        answer = pool.ask(way, path + rest, body, token=tokens["user"])
        assert answer.status == 404, (way, rest, answer)
    assert mine["id"] not in [t["id"] for t in pool.good("GET", "/api/v1/tasks", token=tokens["user"])["data"]]


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode() if not isinstance(value, bytes) else value).rstrip(b"=").decode()


def test_credentials_that_are_not_quite_right(pool):
    password = "correct horse battery"
    pool.account("tokens", password=password)
    access = pool.good("POST", "/api/v1/sessions", {"name": "tokens", "password": password}, token=None)["access"]
    head, claims, signature = access.split(".")
    known = json.loads(base64.urlsafe_b64decode(head + "=="))
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    bad = {
        "none": f"{part({**known, 'alg': 'none'})}.{claims}.",
        "None": f"{part({**known, 'alg': 'NonE'})}.{claims}.{signature}",
        "hmac": f"{part({**known, 'alg': 'HS256'})}.{claims}.{signature}",
        "no kid": f"{part({'alg': 'EdDSA', 'typ': 'at+jwt'})}.{claims}.{signature}",
        "other kid": f"{part({**known, 'kid': 'x'})}.{claims}.{signature}",
        "more": f"{head}.{part({**said, 'role': 'admin'})}.{signature}",
        "later": f"{head}.{part({**said, 'exp': said['exp'] + 10**6})}.{signature}",
        "unsigned": f"{head}.{claims}.",
        "cut": access[:-2],
        "two parts": f"{head}.{claims}",
        "key": pool.token[:-1] + ("a" if pool.token[-1] != "a" else "b"),
        "key cut": pool.token[:-1],
        "long": "berth_" + "a" * 5000,
        "empty": "",
        "text": "hello world",
    }
    assert pool.good("GET", "/api/v1/me", token=access)["name"] == "tokens"
    for what, token in bad.items():
        answer = pool.ask("GET", "/api/v1/me", token=None, headers={"Authorization": "Bearer " + token})
        assert answer.status == 401, (what, answer)
        assert answer.code == "auth.invalid"
    for header in ("Basic dTpw", "Bearer", pool.token, "bearer  " + pool.token + " x"):
        assert pool.ask("GET", "/api/v1/me", token=None, headers={"Authorization": header}).status == 401, header
    # Wrong ones are not taken where none is needed either way: they are not looked at there.
    assert pool.ask("GET", "/healthz", token="berth_wrong").status == 200


def test_pages_of_others_open_no_socket(pool, tokens):
    own = ("Origin", pool.url)
    pool.websocket("/events", token=tokens["user"], protocol="berth.events.v1", headers=[own]).close()
    # A program shows its key in a header; no page can make a browser do that.
    pool.websocket("/events", token=tokens["user"], headers=[("Origin", "https://evil.example")]).close()
    for origin in ("https://evil.example", "null", pool.url.replace("http", "https"), pool.url + "0", "http://x@" + pool.url[7:]):
        ticket = pool.good("POST", "/api/v1/tickets", {}, token=tokens["user"])["ticket"]
        with pytest.raises(Refused) as refused:
            pool.websocket("/events?ticket=" + ticket, token=None, headers=[("Origin", origin)])
        assert refused.value.status == 403 and b"auth.origin" in refused.value.body
    ticket = pool.good("POST", "/api/v1/tickets", {}, token=tokens["user"])["ticket"]
    pool.websocket("/events?ticket=" + ticket, token=None, headers=[own]).close()
    # Good once, and for streams only.
    with pytest.raises(Refused) as refused:
        pool.websocket("/events?ticket=" + ticket, token=None, headers=[own])
    assert refused.value.status == 401
    ticket = pool.good("POST", "/api/v1/tickets", {}, token=tokens["user"])["ticket"]
    assert pool.ask("GET", "/api/v1/me?ticket=" + ticket, token=None).status == 401


def test_streams_end_with_their_key(pool):
    account, _ = pool.account("ending")
    key = pool.good("POST", "/api/v1/keys", {"label": "ending", "account": account})
    stream = pool.websocket("/events", token=key["key"])
    assert stream.receive()["type"] == "snapshot"
    pool.good("DELETE", "/api/v1/keys/" + key["id"])
    with pytest.raises((EOFError, ConnectionResetError)):
        while True:
            stream.receive_frame()
