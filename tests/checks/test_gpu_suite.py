"""The hardware suite's own sums, which no hardware is needed for: what samples mean, how rows are kept, that every file of it is a program."""
import json
import os
import subprocess
import sys
import xml.dom.minidom

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
GPU = os.path.join(ROOT, "tests/gpu")
sys.path.insert(0, GPU)
import figures  # noqa: E402
from trace import Trace, rate  # noqa: E402

A, B, G = 11, 12, 10**9


def client(state, resident, out=0, into=0):
    return {"state": state, "resident_bytes": resident, "out_bytes": out, "in_bytes": into}


def trace(*rows):
    """Rows of (time, a, b)."""
    return Trace((at, {(pid, 0): c for pid, c in ((A, a), (B, b)) if c}, []) for at, a, b in rows)


def test_a_way_out_is_from_the_decision_to_the_last_byte():
    t = trace((0.0, client("running", 60 * G), None), (1.0, client("giving-way", 60 * G), None), (1.5, client("going-out", 30 * G, 30 * G), None),
              (2.0, client("going-out", 0, 60 * G), None), (2.2, client("waiting", 0, 60 * G), None), (9.0, client("waiting", 0, 60 * G), None))
    (move,) = t.out(A)
    assert (move["begin"], move["end"], move["bytes"], move["moved"]) == (1.0, 2.2, 60 * G, 60 * G)
    assert rate(move) == pytest.approx(50) and t.back(A) == []


def test_giving_way_without_leaving_is_no_move():
    assert trace((0, client("running", G), None), (1, client("giving-way", G), None), (2, client("waiting", G), None)).out(A) == []


def test_coming_in_ends_when_it_runs_and_one_called_off_is_none():
    t = trace((0, client("waiting", 0), None), (1, client("coming-in", 0), None), (2, client("coming-in", 5 * G, 0, 5 * G), None),
              (3, client("running", 10 * G, 0, 10 * G), None), (4, client("coming-in", 10 * G), None), (5, client("waiting", 10 * G), None))
    (move,) = t.back(A)
    assert (move["begin"], move["end"], move["bytes"]) == (1, 3, 10 * G)


def test_an_exchange_counts_both_ways_until_the_go():
    t = trace((0.0, client("running", 48 * G), client("waiting", 2 * G)), (1.0, client("giving-way", 48 * G), client("waiting", 2 * G)),
              (1.1, client("going-out", 48 * G), client("coming-in", 2 * G)), (1.8, client("waiting", 2 * G, 46 * G), client("coming-in", 40 * G, 0, 38 * G)),
              (2.0, client("waiting", 2 * G, 46 * G), client("running", 48 * G, 0, 46 * G)))
    (found,) = t.exchanges(A, B)
    assert found["leaver"] == A and (found["out"], found["into"]) == (46 * G, 46 * G)
    assert found["seconds"] == pytest.approx(1.0) and found["gbps"] == pytest.approx(92)
    assert t.course([A, B], 1.0, 2.0)[0] == [0.0, 48 * G, 2 * G] and t.course([A, B], 1.0, 2.0)[-1] == [1.0, 2 * G, 48 * G]


def test_rows_that_were_not_measured_stay():
    old = [dict(name="swap_in_gbps", value=1, peers={"x": {"value": 3}}), dict(name="odd", value=2, peers={})]
    rows = {r["name"]: r for r in figures.merge(old, [dict(name="swap_in_gbps", value=5, peers={})], {"swap_in_gbps": {"y": {"value": 4}}, "exchange_gbps": {"z": {"value": 9}}})}
    assert rows["odd"]["value"] == 2 and rows["swap_in_gbps"]["value"] == 5 and rows["swap_in_gbps"]["peers"] == {"x": {"value": 3}, "y": {"value": 4}}
    assert rows["exchange_gbps"]["value"] is None  # a peer alone invents no figure of ours


def test_kinds_that_were_not_run_stay_with_their_commit():
    old = [dict(name="kinds_right", value=2, of=2, commit="old", date="d", machine="m", peers={},
                rows=[dict(kind="a", right=True, moved_out=0), dict(kind="b", right=True, moved_out=1)])]
    fresh = [dict(name="kinds_right", value=1, of=1, commit="new", peers={}, rows=[dict(kind="a", right=True, moved_out=5)]), dict(name="kinds_moved", value=1, of=1, peers={})]
    rows = {r["name"]: r for r in figures.merge(old, fresh)}
    assert (rows["kinds_right"]["value"], rows["kinds_right"]["of"], rows["kinds_right"]["commit"]) == (2, 2, "new")
    assert [(r["kind"], r["moved_out"], r.get("commit")) for r in rows["kinds_right"]["rows"]] == [("a", 5, None), ("b", 1, "old")]
    assert (rows["kinds_moved"]["value"], rows["kinds_moved"]["of"]) == (2, 2)


def test_the_book_is_written_whole(tmp_path):
    path = tmp_path / "deep" / "out.json"
    book = figures.Book(path, "tests/gpu/run", "a card")
    book.put("peak_error_bytes", 0, method="m")
    book.write()
    (row,) = json.loads(path.read_text())
    assert (row["value"], row["unit"], row["better"], row["goal"], row["machine"]) == (0, "bytes", "lower", 0, "a card")


def tool(*words):
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_results_from_elsewhere_are_taken_over(tmp_path):
    kept, got = tmp_path / "kept.json", tmp_path / "got.json"
    kept.write_text(json.dumps([dict(name="swap_in_gbps", value=1, unit="GB/s", peers={}), dict(name="exchange_gbps", value=2, unit="GB/s", peers={})]))
    got.write_text(json.dumps([dict(name="swap_in_gbps", value=3, unit="GB/s", peers={}), dict(name="exchange_gbps", value=None, peers={"x": {"value": 4}})]))
    assert tool("tests/gpu/figures.py", kept, got).returncode == 0
    rows = {row["name"]: row for row in json.loads(kept.read_text())}
    assert rows["swap_in_gbps"]["value"] == 3 and rows["exchange_gbps"]["value"] == 2 and rows["exchange_gbps"]["peers"] == {"x": {"value": 4}}


def test_the_page_has_the_figures_of_the_results(tmp_path):
    page, results = tmp_path / "memory.md", tmp_path / "memory.json"
    with open(os.path.join(ROOT, "docs/memory.md"), encoding="utf-8") as source:
        page.write_text(source.read())
    results.write_text(json.dumps([
        dict(name="swap_out_gbps", value=54.321, unit="GB/s", better="higher", goal=54, limit=55.3, machine="a card", commit="abc", date="2026-01-01", method="so",
             peers={"UVM prefetch": {"value": 13.5}}),
        dict(name="swap_by_size", value=50, unit="GB/s", better="higher", peers={}, machine="a card", limit=55.3, method="m",
             rows=[dict(bytes=1 << 20, moved=2 << 20, out_gbps=1.5, in_gbps=1.25), dict(bytes=1 << 30, moved=1 << 30, out_gbps=50, in_gbps=49)])]))
    where = ("--results", results, "--page", page)
    assert tool("tools/memory-doc", "--check", *where).returncode == 1
    assert tool("tools/memory-doc", *where).returncode == 0 and tool("tools/memory-doc", "--check", *where).returncode == 0
    text = page.read_text()
    assert "**54.32 GB/s**" in text and "UVM prefetch: 13.5 GB/s" in text and "a card, commit abc, 2026-01-01" in text and "| 1 MiB | 2 MiB | 1.5 | 1.25 |" in text
    assert "not measured yet" in text
    assert tool("bench/plot", results, tmp_path).returncode == 0 and tool("bench/plot", "--check", results, tmp_path).returncode == 0
    drawn = (tmp_path / "swap-by-size.svg").read_text()
    xml.dom.minidom.parseString(drawn)
    (tmp_path / "swap-by-size.svg").write_text(drawn + " ")
    assert tool("bench/plot", "--check", results, tmp_path).returncode == 1 and not (tmp_path / "exchange.svg").exists()


def python_files():
    for folder, _, names in os.walk(GPU):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") or name == "run":
                yield os.path.relpath(path, ROOT)


@pytest.mark.parametrize("path", sorted(python_files()))
def test_it_is_a_program(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as source:
        compile(source.read(), path, "exec", dont_inherit=True)


def test_the_parts_are_listed():
    done = subprocess.run([os.path.join(GPU, "run"), "--list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "exchange" in done.stdout
    wrong = subprocess.run([os.path.join(GPU, "run"), "--only", "nothing"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2 and "no part nothing" in wrong.stderr
