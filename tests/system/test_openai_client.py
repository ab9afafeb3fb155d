"""Clients that people have, against `berth up` as it starts by itself: OpenAI's client for JavaScript (tests/openai-client) and curl."""
import json
import os
import subprocess

import pytest
from berthpool import Worker, running
from conftest import PATIENCE, ROOT
from openai_double import Engine
from test_up import Home

HERE = os.path.join(ROOT, "tests", "openai-client")


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("up"))
    (home.folder / "kept" / "models.conf").unlink()  # `berth up` makes the one that people get
    home.start()
    told = json.loads((home.folder / "kept" / "local.json").read_text())
    home.url, home.token = told["url"] + "/v1", told["token"]
    yield home
    home.stop()


def curl(up, path, *arguments, body=None, key=None):
    argv = ["curl", "-sS", "--max-time", "300", "-H", f"Authorization: Bearer {key or up.token}", "-w", "\n%{http_code}", *arguments, up.url + path]
    if body is not None:
        argv += ["-H", "Content-Type: application/json", "-d", body if isinstance(body, str) else json.dumps(body)]
    r = subprocess.run(argv, capture_output=True, text=True, timeout=320 * PATIENCE)
    assert r.returncode == 0, r
    text, _, status = r.stdout.rpartition("\n")
    return int(status), text


def node(script, folder, url, key):
    r = subprocess.run(["node", "--test", script], cwd=HERE, capture_output=True, text=True, timeout=400 * PATIENCE,
                       env={"PATH": os.environ["PATH"], "HOME": str(folder), "OPENAI_BASE_URL": url, "OPENAI_API_KEY": key})
    assert r.returncode == 0, r.stdout + r.stderr


def test_the_client_of_openai(up):
    node("client.mjs", up.folder, up.url, up.token)


def test_a_stream_that_breaks_off_is_an_error_for_the_client_of_openai(tmp_path):
    engine = Engine()
    for pool in running(tmp_path / "pool"):
        worker = Worker(pool, engines=[{"model": "m", "kind": "url", "state": "ready", "address": engine.address, "parallel": 4, "tasks": ["chat", "completion"]}])
        node("broken.mjs", tmp_path, pool.url + "/v1", pool.token)
        worker.socket.close()
    engine.stop()


def test_curl(up):
    status, text = curl(up, "/models")
    assert status == 200 and [m["id"] for m in json.loads(text)["data"]] == ["berth-tiny"]
    asked = {"model": "berth-tiny", "temperature": 0, "messages": [{"role": "user", "content": "What is Berth?"}]}
    status, text = curl(up, "/chat/completions", body=asked)
    answer = json.loads(text)["choices"][0]["message"]["content"]
    assert status == 200 and answer.startswith("Berth ")
    status, text = curl(up, "/chat/completions", "-N", body={**asked, "stream": True})
    told = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert status == 200 and told[-1] == "[DONE]"
    assert "".join(c["delta"].get("content") or "" for e in told[:-1] for c in json.loads(e)["choices"]) == answer
    for body, code in [("{", 400), ({**asked, "model": "none"}, 404), ({"model": "berth-tiny"}, 400), ({**asked, "messages": 7}, 400)]:
        status, text = curl(up, "/chat/completions", body=body)
        assert status == code and json.loads(text)["error"]["message"], (body, status, text)
    assert curl(up, "/models", key="wrong")[0] == 401
    assert curl(up, "/nothing")[0] == 404


def test_berth_chat(up):
    assert "Ada" in up.berth("chat", text="My name is Ada.\nWhat is my name?\n").stdout.splitlines()[1]
    assert up.json("generate", "berth-tiny", "--prompt", "What is 7 plus 5?", "--temperature", "0")["text"].startswith("7 plus 5 is ")
