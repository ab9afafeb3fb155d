"""The page as it is served: every header, compressed forms, what browsers may keep. What it does in a browser: tests/web."""
import gzip
import re

import pytest
from berthpool import pool, running  # noqa: F401

POLICY = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:", "connect-src": "'self'", "form-action": "'none'",
          "frame-ancestors": "'none'", "base-uri": "'none'"}


def policy(answer):
    return dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))


def guarded(answer):
    assert policy(answer) == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]


@pytest.fixture(scope="module")
def page(pool):
    answer = pool.ask("GET", "/", token=None)
    if answer.status == 501:
        pytest.fail("this build has no page: npm or web/node_modules was missing (tools/setup test)")
    return answer


def test_the_page_and_all_it_names(pool, page):
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache" and page.headers["vary"] == "Accept-Encoding"
    guarded(page)
    text = page.body.decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert named and all(re.fullmatch(r"/assets/[\w.-]+-[\w-]{8}\.(js|css)|/icon\.svg", name) for name in named), named
    assert "style=" not in text and "<style" not in text and not re.search(r"<script(?![^>]* src=)", text), "nothing inline"
    for name in named:
        answer = pool.ask("GET", name, token=None)
        assert answer.status == 200
        guarded(answer)
        assert answer.headers["cache-control"] == ("public, max-age=31536000, immutable" if name.startswith("/assets/") else "no-cache")
        assert answer.headers["content-type"].split(";")[0] == {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.rsplit(".", 1)[1]]
    assert pool.ask("GET", "/setup", token=None).body == page.body


def test_compressed_forms_and_tags(pool, page):
    names = ["/", *re.findall(r'"(/assets/[^"]+)"', page.body.decode())]
    small = 0
    for name in names:
        plain = pool.ask("GET", name, token=None)
        zipped = pool.ask("GET", name, headers={"Accept-Encoding": "gzip;q=1, br;q=0"}, token=None)
        packed = pool.ask("GET", name, headers={"Accept-Encoding": "gzip, deflate, br, zstd"}, token=None)
        assert "content-encoding" not in plain.headers
        assert zipped.headers["content-encoding"] == "gzip" and gzip.decompress(zipped.body) == plain.body
        assert packed.headers["content-encoding"] == "br" and len(packed.body) < len(zipped.body) < len(plain.body)
        tags = [answer.headers["etag"] for answer in (plain, zipped, packed)]
        assert len(set(tags)) == 3
        again = pool.ask("GET", name, headers={"Accept-Encoding": "br", "If-None-Match": f'"x", W/{tags[2]}'}, token=None)
        assert again.status == 304 and again.body == b"" and again.headers["etag"] == tags[2]
        assert pool.ask("GET", name, headers={"If-None-Match": tags[2]}, token=None).status == 200, "another form"
        head = pool.ask("HEAD", name, headers={"Accept-Encoding": "br"}, token=None)
        assert head.status == 200 and head.body == b"" and head.headers["content-length"] == str(len(packed.body))
        small += len(packed.body)
    assert small <= 100_000, "the whole page, compressed"


def test_what_is_not_there(pool):
    for path in ("/assets/none-00000000.js", "/assets/", "/assets/../index.html", "/assets/%2e%2e/%2e%2e/etc/passwd", "/index.html", "/assets/" + "a" * 4000):
        assert pool.ask("GET", path, token=None).status in (400, 404), path
    assert pool.ask("POST", "/", {}, token=None).status == 405
    # Two lists of encodings are one list in parts.
    assert pool.raw(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nAccept-Encoding: br\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_documents_are_guarded_alike(pool):
    for path in ("/docs", "/docs.js", "/setup", "/setup.js", "/style.css"):
        answer = pool.ask("GET", path, token=None)
        assert answer.status == 200
        guarded(answer)
