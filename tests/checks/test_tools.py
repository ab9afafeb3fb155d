"""The tools that others rely on: the set-up, the check of rooms and the count at the end of `make test`."""
import json
import os
import shutil
import stat
import subprocess
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def tool(name, *arguments, **options):
    return subprocess.run([os.path.join(ROOT, "tools", name), *arguments], capture_output=True, text=True, timeout=60, **options)


# tools/setup, with stand-ins for Debian's programs that write down what they were asked.

STANDINS = {
    "dpkg-query": 'for p in "$@"; do case " $INSTALLED " in *" $p "*) echo "installed $p";; esac; done',
    "apt-get": 'echo "apt-get $*" >>"$RECORD"; case "$*" in *"$FAILS"*) exit 100;; esac',
    "id": 'echo "$USER_ID"',
    "npm": 'echo "npm in ${PWD##*/}: $*" >>"$RECORD"; case "npm" in *"$FAILS"*) exit 1;; esac; mkdir -p node_modules',
    "sudo": 'echo "sudo $*" >>"$RECORD"; [ "$SUDO" = yes ] || exit 1; [ "$1" = -n ] && shift; exec "$@"',
}


@pytest.fixture
def machine(tmp_path):
    """setup() on a machine with the given packages; returns (process, commands that were run)."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("sh", "sed", "env", "true", "echo", "cat", "dirname", "mkdir", "sha256sum"):
        os.symlink(shutil.which(name), bin_dir / name)
    # A tree of its own, so that nothing is installed in this one.
    (tmp_path / "tools").mkdir()
    shutil.copy(os.path.join(ROOT, "tools/setup"), tmp_path / "tools/setup")

    def setup(installed="", user=0, sudo="none", fails="nothing", apt=True, npm=False, which="run"):
        for name, body in STANDINS.items():
            path = bin_dir / name
            path.unlink(missing_ok=True)
            if (name == "sudo" and sudo == "none") or (name == "apt-get" and not apt) or (name == "npm" and not npm):
                continue
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        record = tmp_path / "record"
        record.write_text("")
        environment = {"PATH": str(bin_dir), "INSTALLED": installed, "RECORD": str(record), "USER_ID": str(user), "SUDO": sudo,
                       "FAILS": fails}
        done = subprocess.run([tmp_path / "tools/setup", which], capture_output=True, text=True, timeout=60, env=environment, stdin=subprocess.DEVNULL)
        return done, record.read_text().splitlines()

    return setup


def everything(machine, which="run"):
    """What setup would install on a bare machine."""
    _, ran = machine(which=which)
    return ran[-1].split("--no-install-recommends ")[1]


def test_setup_does_nothing_when_all_is_there(machine):
    done, ran = machine(installed=everything(machine))
    assert (done.returncode, done.stdout, done.stderr, ran) == (0, "", "", [])


def test_setup_installs_only_what_is_missing(machine):
    have = everything(machine).replace("libuv1-dev ", "")
    done, ran = machine(installed=have)
    assert done.returncode == 0
    assert "update" in ran[0] and ran[1].endswith("install --no-install-recommends libuv1-dev")


def test_setup_for_tests_adds_to_that_for_running(machine):
    run, test, fuzz = (set(everything(machine, which).split()) for which in ("run", "test", "fuzz"))
    assert run < test < fuzz
    assert {"meson", "libuv1-dev", "libcmocka-dev"} <= run and "python3-pytest" in test and "clang" in fuzz


def test_setup_uses_sudo(machine):
    done, ran = machine(user=1000, sudo="yes")
    assert done.returncode == 0 and any(line.startswith("apt-get") and "install" in line for line in ran)


@pytest.mark.parametrize("options, word", [
    ({"user": 1000}, "neither root nor sudo"),
    ({"user": 1000, "sudo": "no"}, "sudo refused"),
    ({"fails": "install"}, "could not install"),
])
def test_setup_says_why_it_cannot(machine, options, word):
    done, _ = machine(**options)
    assert done.returncode == 1 and word in done.stderr


def test_setup_goes_on_when_only_the_lists_cannot_be_read(machine):
    done, _ = machine(fails="update")
    assert done.returncode == 0 and "update failed" in done.stderr


def test_setup_without_apt_names_what_is_needed(machine):
    done, ran = machine(apt=False)
    assert done.returncode == 0 and "libuv1-dev" in done.stderr and not ran


def test_setup_brings_npm_only_where_it_is_not(machine):
    assert {"nodejs", "npm"} <= set(everything(machine).split())
    _, ran = machine(npm=True)
    assert not {"nodejs", "npm"} & set(ran[-1].split())


def test_setup_has_npm_install_what_each_lock_file_names_once(machine, tmp_path):
    _, ran = machine(npm=True)
    have = ran[-1].split("--no-install-recommends ")[1]
    for folder in ("web", "tests/web"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "package-lock.json").write_text("{}")
    done, ran = machine(installed=have, npm=True)
    assert done.returncode == 0 and len(ran) == 1 and ran[0].startswith("npm in web: ci ")
    assert machine(installed=have, npm=True)[1] == []
    (tmp_path / "web/package-lock.json").write_text("{ }")
    assert len(machine(installed=have, npm=True)[1]) == 1


def test_setup_goes_on_when_npm_cannot(machine, tmp_path):
    _, ran = machine(npm=True)
    have = ran[-1].split("--no-install-recommends ")[1]
    (tmp_path / "web").mkdir()
    (tmp_path / "web/package-lock.json").write_text("{}")
    done, _ = machine(installed=have, npm=True, fails="npm")
    assert done.returncode == 0 and "could not install" in done.stderr
    assert len(machine(installed=have, npm=True)[1]) == 1, "tried again the next time"


def test_setup_refuses_unknown_words(machine):
    done, ran = machine(which="everything")
    assert done.returncode == 2 and not ran


# tools/check-rooms, on a small tree.

PAGE = """
| room | holds | may use | libraries |
|---|---|---|---|
| `src/base` | basics | | |
| `src/gate` | decides; pure | `base` | |
| `src/node` | carries out | `gate`, `base` | libuv |
"""


@pytest.fixture
def tree(tmp_path):
    for room in ("base", "gate", "node"):
        (tmp_path / "src" / room).mkdir(parents=True)
    (tmp_path / "docs").mkdir()

    def check(page=PAGE, **files):
        (tmp_path / "docs/architecture.md").write_text(page)
        sources = {"base/a.h": "", "gate/b.c": '#include "base/a.h"\n', "node/c.c": '#include "gate/b.h"\n#include <uv.h>\n'}
        sources.update({name.replace("__", "/", 1).replace("_", "."): text for name, text in files.items()})
        for name, text in sources.items():
            if not text.startswith("!"):
                text = f"/* {os.path.basename(name)}: what it is. */\n" + text
            (tmp_path / "src" / name).write_text(text.lstrip("!"))
        return tool("check-rooms", str(tmp_path))

    return check


def test_rooms_accepts_what_the_table_allows(tree):
    done = tree()
    assert done.returncode == 0 and "0 wrong" in done.stdout


@pytest.mark.parametrize("files, word", [
    ({"base__a_h": '#include "gate/b.h"\n'}, 'src/base/a.h:2: src/base may not use "gate/b.h"'),
    ({"gate__b_c": "\n#include <uv.h>\n"}, "src/gate/b.c:3: src/gate may not use libuv"),
    ({"gate__b_c": "#include <time.h>\n"}, "is pure and includes <time.h>"),
    ({"gate__b_c": '#include "base/clock.h"\n'}, 'is pure and includes "base/clock.h"'),
    ({"gate__b_c": "int x = rand();\n"}, "is pure and calls rand()"),
    ({"node__c_c": '#include "../gate/b.h"\n'}, "steps out of its folder"),
    ({"node__c_c": "!int c;\n"}, "does not open with its paragraph"),
    ({"node__c_c": "\n" * 700}, "701 lines"),
    ({"page": PAGE.replace("basics | |", "basics | `node` |")}, "a circle of rooms"),
    ({"page": PAGE.replace("| `src/node` | carries out | `gate`, `base` | libuv |\n", "")}, "src/node has no row"),
    ({"page": PAGE + "\nSee `src/base/gone.h`.\n"}, "src/base/gone.h does not exist"),
    ({"page": "nothing"}, "no table of rooms"),
])
def test_rooms_finds(tree, files, word):
    done = tree(**files)
    assert done.returncode == 1 and word in done.stdout, done.stdout


# tools/test-report


@pytest.fixture
def report(tmp_path):
    def run(*tests, arguments=()):
        log = tmp_path / "log.json"
        log.write_text("".join(json.dumps({"name": "x", "duration": 1.0, "stdout": "", **test}) + "\n" for test in tests))
        done = tool("test-report", *arguments, str(log))
        return done.returncode, done.stdout.splitlines()[-1]

    return run


CMOCKA = "[==========] Running 3 test(s).\n[  PASSED  ] %d test(s).\n"


def test_report_counts(report):
    assert report({"result": "OK"}, {"result": "OK", "stderr": CMOCKA % 3},
                  {"result": "OK", "stdout": "..\n5 passed in 1.20s\n"}) == (0, "9 passed, 0 failed")


def test_report_counts_failures(report):
    failed = CMOCKA % 2 + "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] test_x\n"
    assert report({"result": "FAIL", "stderr": failed}) == (1, "2 passed, 1 failed")
    assert report({"result": "FAIL", "stdout": "=== 2 failed, 3 passed in 0.1s ===\n"}) == (1, "3 passed, 2 failed")
    assert report({"result": "OK"}, {"result": "TIMEOUT"}) == (1, "1 passed, 1 failed")


def test_report_takes_nothing_for_granted(report, tmp_path):
    assert report() == (1, "0 passed, 1 failed")
    assert report({"result": "SKIP"}) == (1, "0 passed, 1 failed")
    assert report({"result": "OK", "stdout": "1 passed, 1 skipped in 0.1s\n"})[0] == 1
    assert report({"result": "OK"}, arguments=["--broken", "thread"]) == (1, "1 passed, 1 failed")
    done = tool("test-report", str(tmp_path / "none.json"))
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "0 passed, 1 failed"
    assert tool("test-report").returncode == 1


# tools/protocol-doc


def test_the_dictionary_has_every_message():
    done = tool("protocol-doc", "--dictionary")
    assert done.returncode == 0 and "\nhello=" in done.stdout and "\nsegment_known=" in done.stdout


# tools/build-page and src/gateway/gen-page.py, on a small tree with stand-ins for npm and node.

@pytest.fixture
def page(tmp_path):
    """page() makes the C of the tree's page; returns (process, its text)."""
    for path in ("tools/build-page", "src/gateway/gen-page.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.join(ROOT, path), tmp_path / path)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (tmp_path / "web/src").mkdir(parents=True)
    (tmp_path / "web/package.json").write_text("{}")
    (tmp_path / "web/src/main.ts").write_text("1")
    # What Vite would do, and how often it did.
    (bin_dir / "npm").write_text("#!/bin/sh\n[ ! -e broken ] || { echo a mistake in main.ts; exit 1; }\nmkdir -p dist/assets\necho '<html>' >dist/index.html\n"
                                 "cp src/main.ts dist/assets/index-ABCDEFGH.js\necho x >>builds\n")
    (bin_dir / "node").write_text("#!/bin/sh\nfor f in $(find \"$3\" -name '*.js' -o -name '*.html'); do echo br >$f.br; echo gz >$f.gz; done\n")
    for name in ("npm", "node"):
        (bin_dir / name).chmod(0o755)

    def make(npm=True):
        out = tmp_path / "page.c"
        environment = {"PATH": f"{bin_dir}:/usr/bin:/bin" if npm else str(tmp_path / "none"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, tmp_path / "src/gateway/gen-page.py", out, tmp_path / "page.d", tmp_path], capture_output=True, text=True,
                              timeout=60, env=environment)
        return done, out.read_text() if out.exists() else None

    return make


def builds(tmp_path):
    path = tmp_path / "web/builds"
    count = len(path.read_text().splitlines()) if path.exists() else 0
    path.unlink(missing_ok=True)  # no source of the page
    return count


def test_a_page_is_made_only_when_its_sources_changed(page, tmp_path):
    (tmp_path / "web/node_modules").mkdir()
    (tmp_path / "web/node_modules/.package-lock.json").write_text("{}")
    done, text = page()
    assert done.returncode == 0 and builds(tmp_path) == 1, done.stderr
    assert '"/assets/index-ABCDEFGH.js"' in text and '"/", "text/html; charset=utf-8", false' in text and "page_file_count = 2;" in text
    assert "web/src/main.ts" in (tmp_path / "page.d").read_text()
    page()
    assert builds(tmp_path) == 0
    (tmp_path / "web/src/main.ts").write_text("2")
    assert page()[1] != text and builds(tmp_path) == 1


def test_without_npm_there_is_no_page_and_no_failure(page):
    done, text = page(npm=False)
    assert done.returncode == 0 and "page_file_count = 0;" in text and "tools/setup" in done.stderr


def test_a_page_that_cannot_be_built_fails_the_build(page, tmp_path):
    (tmp_path / "web/node_modules").mkdir()
    (tmp_path / "web/node_modules/.package-lock.json").write_text("{}")
    (tmp_path / "web/broken").write_text("")
    done, text = page()
    assert done.returncode == 1 and "a mistake in main.ts" in done.stderr and text is None


@pytest.mark.parametrize("name, word", [("assets/index.js", "hash"), ("assets/x-ABCDEFGH.exe", "end in one of"), ("other/x-ABCDEFGH.js", "dist/ or dist/assets")])
def test_files_that_cannot_be_served_are_named(page, tmp_path, name, word):
    (tmp_path / "web/dist" / os.path.dirname(name)).mkdir(parents=True)
    (tmp_path / "web/dist/index.html").write_text("<html>")
    (tmp_path / "web/dist" / name).write_text("x")
    done, _ = page(npm=False)
    assert done.returncode == 1 and word in done.stderr and name in done.stderr
