"""berth-pool over HTTP: every resource in its ordinary use, each answer held against /openapi.json."""
import hashlib
import json
import os
import threading

import jsonschema
import pytest
from berthpool import ASKED, Worker, pool, running  # noqa: F401

PASSWORD = "correct horse battery"


def test_health_and_documents(pool):
    assert pool.good("GET", "/healthz", token=None) == {"alive": True}
    assert pool.good("GET", "/readyz", token=None)["ready"]
    assert pool.document["openapi"] == "3.1.0"
    for name, schema in pool.document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
    for path in ("/docs", "/docs.js", "/style.css", "/setup", "/setup.js"):
        answer = pool.ask("GET", path, token=None)
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.body.decode() and "https://" not in answer.body.decode(), "pages ask nobody else"
    assert pool.good("GET", "/.well-known/jwks.json", token=None)["keys"]
    metrics = pool.ask("GET", "/metrics").body.decode()
    for name in ("pool_tasks", "pool_http_requests_total", "pool_event_subscribers"):
        assert f"\n{name}" in metrics
    assert pool.good("GET", "/api/v1/pool")["queues"]["total"] == 16
    assert set(pool.good("GET", "/api/v1/history?series=tasks.done,tokens.out&since=60")["series"]) == {"tasks.done", "tokens.out"}
    assert pool.ask("GET", "/api/v1/history?series=rubbish").status == 400
    assert pool.ask("GET", "/api/v1/history?since=0").status == 400
    assert pool.ask("HEAD", "/healthz", token=None).status == 200


def test_first_admin_signs_in_once(tmp_path):
    for pool in running(tmp_path / "pool"):
        token = pool.link.split("#")[1]
        assert pool.link.startswith(pool.url + "/setup#")
        assert pool.ask("POST", "/api/v1/setup", {"name": "admin", "password": PASSWORD, "token": "setup_wrong"}, token=None).status == 401
        tokens = pool.ask("POST", "/api/v1/setup", {"name": "admin", "password": PASSWORD, "token": token}, token=None)
        assert tokens.status == 201 and tokens.json["me"]["role"] == "admin"
        assert pool.ask("POST", "/api/v1/setup", {"name": "other", "password": PASSWORD, "token": token}, token=None).status in (401, 409)
        assert pool.good("GET", "/api/v1/me", token=tokens.json["access"])["name"] == "admin"
        assert pool.stop() == 0
        pool.start()
        assert pool.link is None, "an admin is there"
        again = pool.ask("POST", "/api/v1/sessions", {"name": "admin", "password": PASSWORD}, token=None)
        assert again.status == 201
        assert pool.ask("POST", "/api/v1/sessions", {"name": "admin", "password": "wrong horse battery"}, token=None).status == 401


def test_sessions(pool):
    account, _ = pool.account("sessions-user", password=PASSWORD)
    signed = pool.good("POST", "/api/v1/sessions", {"name": "sessions-user", "password": PASSWORD}, token=None)
    fresh = pool.good("POST", "/api/v1/sessions/refresh", {"refresh": signed["refresh"]}, token=None)
    assert pool.good("GET", "/api/v1/me", token=fresh["access"])["account"] == account
    assert pool.ask("DELETE", "/api/v1/sessions/current", token=fresh["access"]).status == 204
    assert pool.ask("GET", "/api/v1/me", token=fresh["access"]).status == 401
    assert pool.ask("POST", "/api/v1/sessions/refresh", {"refresh": fresh["refresh"]}, token=None).status == 401
    # A key is no session.
    assert pool.ask("DELETE", "/api/v1/sessions/current").status == 409


def test_accounts_and_keys(pool):
    made = pool.ask("POST", "/api/v1/accounts", {"name": "accounts-user", "role": "user", "limits": {"max_tasks": 5}})
    assert made.status == 201
    path = "/api/v1/accounts/" + made.json["id"]
    assert made.headers["location"] == path
    assert pool.ask("POST", "/api/v1/accounts", {"name": "accounts-user"}).code == "account.exists"
    got = pool.ask("GET", path)
    assert got.json["limits"]["max_tasks"] == 5
    tag = got.headers["etag"]
    assert pool.ask("PATCH", path, {"weight": 50}).status == 428
    assert pool.ask("PATCH", path, {"weight": 50}, headers={"If-Match": '"1"'}).status == 412
    assert pool.good("PATCH", path, {"weight": 50}, headers={"If-Match": tag})["weight"] == 50
    assert pool.ask("PATCH", path, {"weight": 60}, headers={"If-Match": tag}).status == 412
    assert pool.good("PATCH", path, {"disabled": True}, headers={"If-Match": "*"})["disabled"]
    pool.good("PATCH", path, {"disabled": False}, headers={"If-Match": "*"})
    assert pool.ask("POST", path + "/password", {"password": PASSWORD}).status == 204
    key = pool.good("POST", "/api/v1/keys", {"label": "one", "account": made.json["id"], "scopes": ["task.read"], "expires": "2099-01-01T00:00:00Z"})
    assert pool.good("GET", "/api/v1/me", token=key["key"])["rights"] == ["task.read"] or "task.read" in pool.good("GET", "/api/v1/me", token=key["key"])["rights"]
    listed = pool.good("GET", f"/api/v1/keys?account={made.json['id']}")["data"]
    assert [k["id"] for k in listed] == [key["id"]] and "key" not in listed[0]
    assert pool.ask("DELETE", "/api/v1/keys/" + key["id"]).status == 204
    assert pool.ask("GET", "/api/v1/me", token=key["key"]).status == 401
    # Pages of one.
    names, after = [], ""
    while True:
        page = pool.ask("GET", f"/api/v1/accounts?limit=1{after}")
        names += [a["name"] for a in page.json["data"]]
        if not page.json["has_more"]:
            break
        assert f"after={page.json['next']}" in page.headers["link"]
        after = "&after=" + page.json["next"]
    assert names == [a["name"] for a in pool.good("GET", "/api/v1/accounts")["data"]] and "accounts-user" in names
    verbs = [row["data"]["verb"] for row in pool.good("GET", "/api/v1/audit?limit=1000")["data"]]
    assert "account.create" in verbs and "key.end" in verbs


def test_tasks(pool):
    one = pool.ask("POST", "/api/v1/tasks", {"type": "command", "payload": {"argv": ["true"]}, "wait_for_workers": True, "name": "first"})
    assert one.status == 202 and one.headers["location"] == "/api/v1/tasks/" + one.json["id"]
    path = one.headers["location"]
    assert pool.good("GET", path)["payload"] == {"argv": ["true"]}
    many = pool.good("POST", "/api/v1/tasks", {"tasks": [{"type": "command", "payload": {}, "wait_for_workers": True, "after": ["#0"] if i else []} for i in range(3)]})
    assert [t["state"] for t in many["data"]] == ["queued", "held", "held"]
    again = [pool.ask("POST", "/api/v1/tasks", {"type": "command", "payload": 1, "wait_for_workers": True}, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert again[0].json["id"] == again[1].json["id"]
    assert pool.ask("POST", "/api/v1/tasks", {"type": "command", "payload": 2, "wait_for_workers": True}, headers={"Idempotency-Key": "k1"}).status == 422
    assert pool.ask("POST", "/api/v1/tasks", {"type": "nobody-does-this", "payload": {}}).status == 422
    assert pool.ask("POST", "/api/v1/tasks?dry_run=true", {"type": "command", "payload": {}, "wait_for_workers": True}).status == 200
    page = pool.ask("GET", "/api/v1/tasks?limit=2&state=queued")
    assert len(page.json["data"]) == 2 and page.json["has_more"] and "state=queued" in page.headers["link"]
    assert pool.good("PATCH", path, {"priority": "high"})["priority"] == "high"
    assert pool.good("GET", path + "/why")["text"]
    assert pool.ask("GET", path + "/result").status == 409
    assert pool.good("POST", path + "/cancel")["state"] == "cancelled"
    assert pool.ask("DELETE", "/api/v1/tasks/" + many["data"][0]["id"]).status == 200
    assert pool.ask("GET", "/api/v1/tasks/task_" + "0" * 32).status == 404
    assert pool.ask("GET", "/api/v1/tasks/nonsense").status == 404


def test_a_worker_does_it(pool):
    worker = Worker(pool, types=["walk"])
    task = pool.submit(type="walk")
    lease = worker.lease()
    assert lease["task"] == task["id"]
    worker.say("accepted", lease)
    worker.say("log", lease, offset=0, text="one\ntwo\n")
    worker.say("progress", lease, share=0.5, text="half")
    path = "/api/v1/tasks/" + task["id"]
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(pool.good("GET", path + "?wait=60")))
    waiting.start()
    worker.finish(lease, {"answer": 42})
    waiting.join()
    assert answers[0]["state"] == "done" and answers[0]["result"] == {"answer": 42}
    assert pool.good("GET", path + "/result")["result"] == {"answer": 42}
    log = pool.ask("GET", path + "/log")
    assert log.body == b"one\ntwo\n"
    assert pool.ask("GET", path + "/log?offset=4").body == b"two\n"
    part = pool.ask("GET", path + "/log", headers={"Range": "bytes=4-6"})
    assert part.status == 206 and part.body == b"two" and part.headers["content-range"] == "bytes 4-6/8"
    workers = pool.good("GET", "/api/v1/workers")["data"]
    assert worker.id in [w["id"] for w in workers]
    place = "/api/v1/workers/" + worker.id
    got = pool.ask("GET", place)
    assert got.json["state"] == "active"
    assert pool.good("GET", place + "/why")["text"]
    assert worker.welcome["node_ms"] >= 2000
    assert pool.good("GET", place + "/node")["node"] is None
    events = pool.websocket("/events", protocol="berth.events.v1")
    assert events.receive()["type"] == "snapshot"
    worker.socket.send({"m": "node", "devices": [{"name": "d0", "kind": "software", "clients": [{"pid": 7, "state": "running"}]}]})
    while (event := events.receive())["type"] != "worker.node":
        pass
    events.close()
    assert event["data"]["worker"] == worker.id and event["data"]["node"]["devices"][0]["clients"][0]["state"] == "running"
    assert pool.good("GET", place + "/node")["node"] == event["data"]["node"]
    assert pool.ask("PATCH", place, {"state": "draining"}).status == 428
    assert pool.good("PATCH", place, {"state": "draining"}, headers={"If-Match": "*"})["state"] in ("draining", "drained")
    assert worker.receive("drain")["on"]
    worker.socket.close()
    assert pool.ask("DELETE", place).status in (200, 204)
    assert pool.ask("GET", place).status == 404


def test_artifacts(pool):
    data = os.urandom(3 << 20)
    digest = hashlib.sha256(data).hexdigest()
    path = "/api/v1/artifacts/" + digest
    assert pool.ask("GET", path).status == 404
    assert pool.ask("GET", path + "/upload").status == 404
    part = pool.good("PUT", path, data[:1 << 20], headers={"Content-Range": f"bytes 0-{(1 << 20) - 1}/{len(data)}"})
    assert part == {"sha256": digest, "offset": 1 << 20, "complete": False}
    assert pool.good("GET", path + "/upload") == part
    wrong = pool.ask("PUT", path, data[:10], headers={"Content-Range": f"bytes 0-9/{len(data)}"})
    assert wrong.code == "artifact.offset" and wrong.json["offset"] == 1 << 20
    done = pool.ask("PUT", path, data[1 << 20:], headers={"Content-Range": f"bytes {1 << 20}-{len(data) - 1}/{len(data)}"})
    assert done.status == 201 and done.json["bytes"] == len(data)
    assert pool.good("GET", path + "/upload")["complete"]
    assert pool.ask("GET", path).body == data
    for text, first, last in (("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=-5", len(data) - 5, len(data) - 1)):
        got = pool.ask("GET", path, headers={"Range": text})
        assert got.status == 206 and got.body == data[first:last + 1]
    assert pool.ask("GET", path, headers={"Range": f"bytes={len(data)}-"}).status == 416
    head = pool.ask("HEAD", path)
    assert head.status == 200 and int(head.headers["content-length"]) == len(data)
    # What is not what its name says is thrown away.
    liar = "/api/v1/artifacts/" + "0" * 64
    assert pool.ask("PUT", liar, b"something").status == 422
    assert pool.ask("GET", liar).status == 404
    empty = "/api/v1/artifacts/" + hashlib.sha256(b"").hexdigest()
    assert pool.ask("PUT", empty, b"", headers={"Content-Range": "bytes */0"}).status == 201
    assert pool.ask("GET", empty).body == b""
    assert pool.ask("GET", "/api/v1/artifacts/short").status == 422
    # Another account's does not exist.
    _, other = pool.account("artifacts-other")
    assert pool.ask("GET", path, token=other).status == 404


def test_answers_in_the_order_of_questions(pool):
    """Several requests in one packet, some answered at once, some after a commit."""
    task = json.dumps({"type": "command", "payload": {}, "wait_for_workers": True})
    auth = f"Host: x\r\nAuthorization: Bearer {pool.token}\r\n"
    post = f"POST /api/v1/tasks HTTP/1.1\r\n{auth}Content-Type: application/json\r\nContent-Length: {len(task)}\r\n\r\n{task}"
    get = f"GET /api/v1/me HTTP/1.1\r\n{auth}\r\n"
    missing = f"GET /missing HTTP/1.1\r\n{auth}\r\n"
    last = f"GET /healthz HTTP/1.1\r\n{auth}Connection: close\r\n\r\n"
    with pool.socket() as sock:
        sock.sendall((post + get + missing + post + get + post + last).encode())
        got = b""
        while part := sock.recv(65536):
            got += part
    statuses = [int(piece[:3]) for piece in got.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [202, 200, 404, 202, 200, 202, 200]


def test_connections_are_kept(pool):
    connection = pool.connection()
    for _ in range(50):
        assert pool.ask("GET", "/api/v1/me", connection=connection).status == 200
    connection.close()
    body = json.dumps({"type": "command", "payload": 1, "wait_for_workers": True}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 20]), body[i:i + 20]) for i in range(0, len(body), 20)) + b"0\r\n\r\n"
    chunked = b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + pool.token.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert b" 202 " in pool.raw(chunked).split(b"\r\n")[0]


def test_backup_and_restart(tmp_path):
    for pool in running(tmp_path / "pool"):
        task = pool.submit(name="kept")
        copy = tmp_path / "copy.db"
        assert pool.ask("POST", "/api/v1/backup", {"path": str(copy)}).status == 201
        assert copy.stat().st_size > 0
        assert pool.ask("POST", "/api/v1/backup", {"path": str(copy)}).status == 409
        assert pool.ask("POST", "/api/v1/backup", {"path": "relative"}).status == 422
        pool.process.kill()
        pool.process.wait()
        pool.start()
        assert pool.good("GET", "/api/v1/tasks/" + task["id"])["name"] == "kept"


def test_a_slot_is_not_lost_while_a_results_artifacts_are_looked_up(pool):
    """The worker says that the slot is free right after its result; the lease ends only when the store was asked for the artifacts."""
    data = b"made by the task"
    digest = hashlib.sha256(data).hexdigest()
    worker = Worker(pool, types=["makes"], slots=4)
    assert pool.ask("PUT", f"/api/v1/artifacts/{digest}", data, token=pool.worker_token(), headers={"Content-Type": "application/octet-stream"}).status == 201
    tasks = [pool.submit(type="makes")["id"] for _ in range(24)]
    for _ in range(6):
        leases, together, raw = [worker.lease() for _ in range(4)], [], worker.socket.raw
        worker.socket.raw = together.append
        for lease in leases:
            worker.say("result", lease, result=1, artifacts=[{"name": f"out{i}", "sha256": digest, "bytes": len(data)} for i in range(100)])
        worker.socket.send({"m": "ready", "slots": 4})
        worker.socket.raw = raw
        raw(b"".join(together))
    for task in tasks:
        assert pool.good("GET", f"/api/v1/tasks/{task}?wait=60")["state"] == "done"
    worker.socket.close()


@pytest.mark.parametrize("number", [2, 15])
def test_ends_in_order(tmp_path, number):
    """Whoever waits for an answer gets one, streams are closed, and the exit code is 0."""
    for pool in running(tmp_path / "pool"):
        stream = pool.websocket("/events", protocol="berth.events.v1")
        assert stream.receive()["type"] == "snapshot"
        worker = Worker(pool)
        assert pool.stop(number) == 0
        while isinstance(last := stream.receive(), dict):
            pass
        assert last[0] == 1001
        assert "ended in order" in pool.process.err
        worker.socket.close()


def test_settings_that_are_wrong(tmp_path):
    import subprocess
    from conftest import built
    for arguments, text in ((["--listen", "nowhere"], "pool.listen"), (["--set", "limits.head=x"], "limits.head"), (["--set", "tasks.gone=1s"], "must grow"),
                            (["--listen", "192.0.2.1:1", "--tls", "off"], "can't listen"), (["--listen", "127.0.0.1:0", "--tls", "a,b"], "certificate"),
                            (["--listen", "127.0.0.1:0", "--tls", "yes"], "pool.tls"), (["--listen", "127.0.0.1:0", "--ready-fd", "999"], "no open descriptor")):
        done = subprocess.run([built("src/gateway/berth-pool"), "--folder", str(tmp_path / "f"), *arguments], capture_output=True, text=True, timeout=120,
                              env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
        assert done.returncode != 0 and text in done.stderr, (arguments, done)


def test_every_route_was_asked(pool):
    """Runs last: this file asks everything that there is, and got a good answer each time (streams and the worker's socket elsewhere)."""
    good = {(way, path) for way, path, status in ASKED if status < 400}
    all_routes = {(way.upper(), path) for path, ways in pool.document["paths"].items() for way in ways}
    elsewhere = {("GET", "/worker/v1"), ("GET", "/worker/v1/tunnel"), ("GET", "/events"), ("GET", "/api/v1/events"), ("POST", "/api/v1/events"), ("GET", "/api/v1/tasks/{task}/events"),
                 ("POST", "/api/v1/tickets"), ("GET", "/api/v1/snapshot"), ("GET", "/openapi.json"),
                 ("GET", "/api/v1/workers/{worker}/machine"),  # test_node_report.py
                 # test_openai.py
                 *((way, path) for way, path in all_routes if path.startswith(("/v1/", "/api/v1/models", "/api/v1/usage"))), ("GET", "/"), ("GET", "/icon.svg"), ("GET", "/assets/{file}")}
    assert all_routes - good - elsewhere == set()
