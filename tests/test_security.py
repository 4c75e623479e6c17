"""What llmd never does: run what it was sent, start other programs, write where nobody said. See
docs/THREATS.md.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from daemon.test_serve import QUICK, Daemon, environment
from test_layers import MODULES, imported, tree

RUNS_WHAT_IT_READS = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib",
                      "code", "codeop", "runpy", "pty"}  # fmt: skip

RUNS_TEXT = {"eval", "exec", "compile", "__import__", "input"}

STARTS_PROGRAMS = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile",
                   "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe",
                   "spawnl", "spawnle", "spawnlp", "spawnv", "spawnve", "spawnvp"}  # fmt: skip

MAY_START_PROGRAMS = {
    "llmd.cli.private_daemon": "llmd itself, for `llmd run` where no daemon runs",
    "llmd.config.memory": "vm_stat, on macOS",
    "llmd.config.processors": "sysctl, on macOS",
}

MAY_WRITE = {
    "llmd.cli.private_daemon": "a directory of its own for temporary files",
    "llmd.cli.tether": "the same",
    "llmd.daemon.listener": "uds",
    "llmd.daemon.stacks": "a temporary file without a name",
    "llmd.engine.state_directory": "cache_dir",
    "llmd.recording.directory": "record",
    "llmd.responses.database": "state_dir",
    "llmd.responses.owner": "state_dir",
    "llmd.store.blob_lock": "HF_HOME",
    "llmd.store.catalog": "HF_HOME",
    "llmd.store.download": "HF_HOME",
    "llmd.store.pull": "HF_HOME",
}
"""And below which directory; only its own user's rights are a bound for the rest of a process."""

_PATH_WRITERS = {"write_text", "write_bytes", "mkdir", "unlink", "rmdir", "symlink_to",
                 "hardlink_to"}  # fmt: skip
_OS_WRITERS = {"replace", "rename", "renames", "remove", "removedirs", "unlink", "mkdir",
               "makedirs", "mkfifo", "rmdir", "symlink", "link", "truncate"}  # fmt: skip
_SHUTIL_WRITERS = {"rmtree", "move", "copy", "copy2", "copyfile", "copytree"}

READ_MODES = {"r", "rb", "rt"}

FLAGS_OF_WRITERS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


def calls(module: str) -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in a module: what stands before the last dot ("" for none), what after it."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            whole = ast.unparse(node.func)
            before, _, name = whole.rpartition(".")
            yield before, name, node


def writes(before: str, name: str, call: ast.Call) -> bool:
    owner = before.rpartition(".")[2]
    if owner in ("tempfile", "sqlite3"):
        return name not in ("sqlite_version", "gettempdir")
    if owner == "os":
        flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        return name in _OS_WRITERS or (name == "open" and bool(flags & FLAGS_OF_WRITERS))
    if owner == "shutil":
        return name in _SHUTIL_WRITERS
    if name == "open":
        modes = [
            arg.value
            for arg in (*call.args, *(word.value for word in call.keywords if word.arg == "mode"))
            if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
        return any(set(mode) <= set("rwaxbt+") and mode not in READ_MODES for mode in modes)
    return name in _PATH_WRITERS


def test_nothing_that_is_read_is_run() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imported(module)
        if name.split(".")[0] in RUNS_WHAT_IT_READS
    ]
    wrong += [
        f"{module} calls {name}"
        for module in MODULES
        for before, name, call in calls(module)
        if (before in ("", "builtins") and name in RUNS_TEXT)
        or any(word.arg == "allow_pickle" for word in call.keywords)
        or (before in ("numpy", "np") and name == "load")
    ]
    assert wrong == []


def test_programs_are_started_in_the_places_that_are_known_and_never_by_a_shell() -> None:
    starters = {module for module in MODULES if "subprocess" in imported(module)}
    assert starters == set(MAY_START_PROGRAMS)
    wrong = [
        f"{module}: {ast.unparse(call)}"
        for module in MODULES
        for before, name, call in calls(module)
        if (before == "os" and name in STARTS_PROGRAMS)
        or name in ("create_subprocess_exec", "create_subprocess_shell", "getoutput")
        or any(word.arg in ("shell", "executable", "preexec_fn") for word in call.keywords)
        or (before == "subprocess" and not isinstance(call.args[0], (ast.List, ast.Name)))
    ]
    assert wrong == []


def test_files_are_written_in_the_places_that_are_known() -> None:
    writers = {
        module
        for module in MODULES
        for before, name, call in calls(module)
        if writes(before, name, call)
    }
    assert writers == set(MAY_WRITE)


def test_the_threat_page_names_what_there_is() -> None:
    root = Path(__file__).parents[1]
    page = (root / "docs" / "THREATS.md").read_text("utf-8")
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_.]*)`", page)
    there = [each for each in named if (root / each).exists() or (root / "llmd" / each).exists()]
    assert named == there != []


WATCHED = """
import os, sys
report = open(sys.argv.pop(1), "w", buffering=1)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def watch(event, args):
    if event == "open" and args[2] & WRITING and not isinstance(args[0], int):
        print(event, os.path.abspath(os.fsdecode(args[0])), file=report)
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "sqlite3.connect"):
        # The second of two names is the one that comes into being.
        place = args[1 if event in ("os.rename", "os.link", "os.symlink") else 0]
        print(event, os.path.abspath(os.fsdecode(place)), file=report)
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
                   "socket.connect", "pickle.find_class"):
        print(event, args, file=report)

from llmd.cli import main
sys.argv[0] = "llmd"
sys.addaudithook(watch)
main()
"""


@pytest.mark.gguf
def test_a_daemon_writes_below_its_directories_alone_and_reaches_out_to_nobody(
    tmp_path: Path, llama_path: Path
) -> None:
    home, report = tmp_path / "home", tmp_path / "report"
    home.mkdir()
    directories = {name: tmp_path / name for name in ("state_dir", "cache_dir", "record")}
    flags = [
        text
        for name, path in directories.items()
        for text in (f"--{name.replace('_', '-')}", str(path))
    ]
    uds = tmp_path / "llmd.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(report), "serve", str(llama_path), *QUICK, *flags,
         "--uds", str(uds)],
        stderr=subprocess.PIPE, text=True, cwd=home,
        env={**environment(home), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        running = Daemon(process)
        running.url()
        transport = httpx.HTTPTransport(uds=str(uds))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=60) as client:
            message = {"role": "user", "content": "the water " * 50}
            chat = {"messages": [message], "max_tokens": 3}
            assert client.post("/v1/chat/completions", json=chat).status_code == 200
            stored = client.post("/v1/responses", json={"input": "a", "max_output_tokens": 2})
            assert stored.status_code == 200
            for name in ("../../etc/passwd", "/etc/passwd", "a/../../b"):
                assert client.get(f"/v1/models/{name}").status_code < 500
                assert client.get(f"/v1/responses/{name}").status_code == 404
                client.post("/models/load", json={"model": name})
        assert running.end(signal.SIGTERM) == 0
    finally:
        process.kill()
        process.communicate()
    told = [line.partition(" ")[::2] for line in report.read_text("utf-8").splitlines()]
    below = (*map(str, directories.values()), os.devnull)
    assert [each for each in told if not each[1].startswith(below)] == []
    for path in directories.values():
        assert any(place.startswith(str(path)) for _, place in told), f"{path} was not used"
