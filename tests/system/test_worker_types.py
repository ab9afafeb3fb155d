"""The task types that are functions, run by a real worker: what comes out of known data, what bad data and bad payloads are answered."""
import json
import os
import random
import sqlite3
import statistics

import pytest
from conftest import INSTRUMENTED
from test_worker import base, failed, good, pool, start  # noqa: F401 (fixtures)

MIB = 1 << 20


@pytest.fixture
def worker(pool, start, base):  # noqa: F811
    (base / "shared").mkdir()
    os.chmod(base / "shared", 0o777)
    made = start(pool, "--slots", "2", "--write", base / "shared")
    made.shared = base / "shared"
    return made


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def run(pool, kind, data, name="in.jsonl", **payload):  # noqa: F811
    """Result and outputs by name."""
    data = data if isinstance(data, bytes) else data.encode()
    end = good(pool.run(kind, {"files": [{"name": name, "sha256": pool.put(data)}], "input": name, **payload}))
    return end["result"], {entry["name"]: pool.artifacts[entry["sha256"]] for entry in end["artifacts"]}


def read(text):
    return [json.loads(line) for line in text.decode().splitlines()]


def test_preprocess(pool, worker):  # noqa: F811
    data = lines([{"Name": "a", "n": "1", "x": 10, "junk": 1}, {"Name": "b", "n": "2", "x": 20}, {"Name": "", "n": "3", "x": 30}, {"Name": "a", "n": "1", "x": 10, "junk": 2},
                  {"Name": "c", "n": "four", "x": 40}]) + "not json\n[1]\n"
    result, made = run(pool, "preprocess", data, rename={"Name": "name"}, select=["name", "n", "x"], cast={"n": "int"}, drop_empty=["name"], dedupe=True,
                       normalise={"x": "minmax"})
    assert read(made["output.jsonl"]) == [{"name": "a", "n": 1, "x": 0.0}, {"name": "b", "n": 2, "x": pytest.approx(1 / 3)}, {"name": "c", "n": None, "x": 1.0}]
    assert {key: result[key] for key in ("read", "kept", "empty", "doubles", "uncast", "malformed")} == {
        "read": 5, "kept": 3, "empty": 1, "doubles": 1, "uncast": 1, "malformed": 2}
    assert [fault["line"] for fault in result["faults"]] == [6, 7]


def test_preprocess_csv_to_csv_and_normalise(pool, worker):  # noqa: F811
    chance = random.Random(1)
    values = [chance.gauss(50, 10) for _ in range(500)]
    data = "id,v,note\r\n" + "".join(f'{i},{v!r},"a ""quoted"", text\nof two lines"\r\n' for i, v in enumerate(values))
    result, made = run(pool, "preprocess", data, name="in.csv", cast={"v": "float"}, normalise={"v": "zscore"}, output="clean.csv")
    text = made["clean.csv"].decode()
    assert text.startswith("id,v,note\n0,") and text.count('"a ""quoted"", text\nof two lines"') == 500 and result["kept"] == 500
    import csv
    import io
    out = [float(row["v"]) for row in csv.DictReader(io.StringIO(text))]
    assert statistics.fmean(out) == pytest.approx(0, abs=1e-9) and statistics.pstdev(out) == pytest.approx(1)


def test_preprocess_splits_by_content(pool, worker):  # noqa: F811
    records = [{"i": i} for i in range(5000)]
    result, made = run(pool, "preprocess", lines(records), split={"train": 0.8, "test": 0.2}, seed=7)
    train, test = read(made["train.jsonl"]), read(made["test.jsonl"])
    assert sorted(r["i"] for r in train + test) == list(range(5000)) and 3800 < len(train) < 4200
    assert result["outputs"] == {"train": len(train), "test": len(test)}
    _, again = run(pool, "preprocess", lines(reversed(records)), split={"train": 0.8, "test": 0.2}, seed=7)
    assert sorted(r["i"] for r in read(again["train.jsonl"])) == [r["i"] for r in train], "where a record goes depends on what it says"
    _, other = run(pool, "preprocess", lines(records), split={"train": 0.8, "test": 0.2}, seed=8)
    assert other["train.jsonl"] != made["train.jsonl"]


def test_preprocess_in_bounded_memory_with_progress(pool, worker):  # noqa: F811
    data = "".join(json.dumps({"i": i, "text": "x" * 1000}) + "\n" for i in range(60000)).encode()
    task = pool.lease("preprocess", {"files": [{"name": "in.jsonl", "sha256": pool.put(data)}], "input": "in.jsonl", "select": ["i"], "limits": {"memory": "400MiB" if INSTRUMENTED else "40MiB"}})
    end = good(pool.end(task, 120))
    assert end["result"]["kept"] == 60000
    shares = [m["share"] for m in task.progress if "share" in m]
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("payload,says", [
    ({}, "input is neither"), ({"input": "in.txt"}, "ending in .jsonl"), ({"input": "missing.jsonl"}, "can't open"), ({"input": "../in.jsonl"}, "is no path"),
    ({"input": "/etc/passwd", "format": "csv"}, "below no folder"), ({"input": "in.jsonl", "cast": {"a": "date"}}, "cast.a"), ({"input": "in.jsonl", "select": "a"}, "select"),
    ({"input": "in.jsonl", "split": {"a": 2}}, "add up"), ({"input": "in.jsonl", "normalise": {"a": "log"}}, "normalise.a"), ({"input": "in.jsonl", "output": "x.doc"}, "neither in"),
    ({"input": "in.jsonl", "output": "../../x.jsonl"}, "is no path"), ({"input": "in.jsonl", "seed": "x"}, "seed"),
])
def test_bad_payloads_are_said(pool, worker, payload, says):  # noqa: F811
    end = failed(pool.run("preprocess", {"files": [{"name": "in.jsonl", "text": "{}\n"}], **payload}), "function")
    assert says in end["error"]["text"] and not end["retryable"] and end["blame"] == "task"


def test_augment_text_by_seed(pool, worker):  # noqa: F811
    data = lines([{"id": 1, "text": "The quick brown fox jumps över the lazy dog"}, {"id": 2, "other": "none"}])
    options = {"copies": 20, "seed": 3, "case": 0.3, "space": 0.3, "dropout": 0.3}
    result, made = run(pool, "augment", data, **options)
    records = read(made["output.jsonl"])
    texts = [r["text"] for r in records if r["id"] == 1]
    assert result == {"read": 2, "written": 22, "malformed": 0, "faults": []} and texts[0] == "The quick brown fox jumps över the lazy dog"
    assert len(set(texts)) > 15 and all(text.strip() for text in texts) and [r["augmented"] for r in records if r["id"] == 1] == list(range(21))
    words = {word.lower() for word in texts[0].split()}
    assert all({word.lower() for word in text.split()} <= words for text in texts)
    assert run(pool, "augment", data, **options)[1] == made
    assert run(pool, "augment", data, **{**options, "seed": 4})[1] != made


def test_augment_pictures(pool, worker):  # noqa: F811
    pixels = bytes(range(0, 240, 2)) * 2
    picture = b"P5\n# a comment\n20 12\n255\n" + pixels
    end = good(pool.run("augment", {"kind": "image", "files": [{"name": "a.pgm", "sha256": pool.put(picture)}, {"name": "b.ppm", "text": "P6 broken"}],
                                    "input": ["a.pgm", "b.ppm"], "copies": 3, "flip": 1, "crop": 0, "brightness": 0}))
    assert end["result"]["written"] == 3 and end["result"]["faults"][0]["file"] == "b.ppm"
    made = pool.artifacts[next(e["sha256"] for e in end["artifacts"] if e["name"] == "a-1.pgm")]
    rows = [pixels[i * 20:i * 20 + 20][::-1] for i in range(12)]
    assert made == b"P5\n20 12\n255\n" + b"".join(rows)


def test_validate(pool, worker):  # noqa: F811
    fields = {"id": {"type": "integer", "required": True, "min": 1}, "kind": {"type": "string", "one_of": ["a", "b"]}, "tags": {"type": "array", "max_length": 2},
              "note": {"type": "string", "max_length": 3, "nullable": True}}
    data = lines([{"id": 1, "kind": "a"}, {"kind": "a"}, {"id": 0}, {"id": "1"}, {"id": 2, "kind": "c"}, {"id": 3, "tags": [1, 2, 3]}, {"id": 4, "note": "äöü"},
                  {"id": 5, "note": "äöüß"}, {"id": 6, "note": None}, {"id": None}]).encode() + b'{"id": 7, "kind": "\xff"}\n'
    result, made = run(pool, "validate", data, fields=fields, output="valid.jsonl")
    assert result["records"] == 10 and result["valid"] == 3 and result["malformed"] == 1
    assert result["rules"] == {"required": 1, "range": 1, "type": 1, "one_of": 1, "length": 2, "nullable": 1}
    assert [(v["line"], v["field"], v["rule"]) for v in result["first"]][:3] == [(2, "id", "required"), (3, "id", "range"), (4, "id", "type")]
    assert result["faults"][0]["line"] == 11 and [r["id"] for r in read(made["valid.jsonl"])] == [1, 4, 6]
    many = "".join(f"{i}\n" for i in range(1000))
    result, _ = run(pool, "validate", "n\n" + many, name="in.csv", fields={"n": {"type": "integer", "max": 99}})
    assert result["violations"] == 900 and len(result["first"]) == 100
    failed(pool.run("validate", {"files": [{"name": "x.jsonl", "text": "{}\n"}], "input": "x.jsonl", "fields": {"id": {"required": True}}, "fail": True}), "function")
    failed(pool.run("validate", {"files": [{"name": "x.jsonl", "text": "{}\n"}], "input": "x.jsonl", "fields": {"id": {"requird": True}}}), "function")


def fill(folder, seed=1):
    chance = random.Random(seed)
    for i in range(20):
        (folder / f"d{i % 3}" / "e").mkdir(parents=True, exist_ok=True)
        (folder / f"d{i % 3}" / "e" / f"f{i}").write_bytes(chance.randbytes(chance.randrange(100000)))
    for path in [folder, *folder.rglob("*")]:
        os.chmod(path, 0o777)


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in ("manifest.json", "moved.json")}


def test_synchronise(pool, worker):  # noqa: F811
    a, b = worker.shared / "a", worker.shared / "b"
    a.mkdir(), b.mkdir()
    fill(a), b.chmod(0o777)
    (a / "link").symlink_to("/etc/passwd")
    payload = {"from": str(a), "to": str(b), "delete": True}
    result = good(pool.run("synchronise", payload))["result"]
    assert content(b) == {k: v for k, v in content(a).items() if k != "link"} and result["copied"] == result["files"] == 20 and result["removed"] == 0
    assert not os.path.lexists(b / "link")
    (a / "d0" / "e" / "f0").write_bytes(b"other")
    (a / "d1" / "e" / "f1").unlink()
    result = good(pool.run("synchronise", payload))["result"]
    assert (result["copied"], result["same"], result["removed"]) == (1, 18, 1)
    assert content(b) == {k: v for k, v in content(a).items() if k != "link"}
    failed(pool.run("synchronise", {"from": "/etc", "to": str(b)}), "function")
    failed(pool.run("synchronise", {"from": str(a), "to": "/usr"}), "function")
    failed(pool.run("synchronise", {"from": str(a), "to": str(a)}), "function")


def test_mirror_and_migrate(pool, worker):  # noqa: F811
    a = worker.shared / "a"
    a.mkdir()
    fill(a)
    targets = [str(worker.shared / name) for name in ("m1", "m2")]
    result = good(pool.run("mirror", {"from": str(a), "to": targets}))["result"]
    assert [m["copied"] for m in result["mirrors"]] == [20, 20]
    for target in targets:
        manifest = good(pool.run("command", {"argv": ["cat", f"{target}/manifest.json"]}))["result"]["stdout"]
        assert len(json.loads(manifest)) == 20
        assert content(worker.shared / os.path.basename(target)) == content(a)
    to = worker.shared / "new"
    good(pool.run("migrate", {"from": str(a), "to": str(to), "switch": True}))
    assert content(to) == content(a) and json.loads((a / "moved.json").read_text()) == {"moved_to": str(to)}


def test_optimise(pool, worker):  # noqa: F811
    path = worker.shared / "x.db"
    db = sqlite3.connect(path)
    db.execute("create table t (a, b)")
    db.executemany("insert into t values (?, ?)", [(i, "x" * 500) for i in range(5000)])
    db.execute("delete from t where a % 10")
    db.commit()
    db.close()
    path.chmod(0o666)
    result = good(pool.run("optimise", {"path": str(path)}))["result"]
    assert result["integrity"] == "ok" and result["bytes_after"] < result["bytes_before"] / 2
    assert sqlite3.connect(path).execute("select count(*) from t").fetchone() == (500,)
    data = bytearray(path.read_bytes())
    data[4096:12000] = b"\xff" * 7904
    path.write_bytes(data)
    before = path.read_bytes()
    assert "nothing was changed" in failed(pool.run("optimise", {"path": str(path)}), "function")["error"]["text"]
    assert path.read_bytes() == before


def test_monitor(pool, worker):  # noqa: F811
    end = good(pool.run("monitor", {"seconds": 0.5, "interval": 0.1}))
    samples = read(pool.artifacts[end["artifacts"][0]["sha256"]])
    assert len(samples) == end["result"]["samples"] == 5
    assert all(s["memory_bytes"] > s["memory_available_bytes"] > 0 and (s["cpu_share"] is None or 0 <= s["cpu_share"] <= 1) for s in samples)
