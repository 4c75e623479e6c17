from __future__ import annotations

import sys
from pathlib import Path

import pytest
from restart import METRICS, Result, evict_from_memory, measure_restart
from server import Server

# Remembers, in a file, how many messages it has seen, and calls them its cached tokens.
STORING_SERVER = """
import json, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

port, store = int(sys.argv[1]), Path(sys.argv[2]) / "sub" / "seen"
seen = int(store.read_text()) if store.exists() else 0

def end(*_):
    store.parent.mkdir(exist_ok=True)
    store.write_text(str(seen))
    sys.exit()

signal.signal(signal.SIGTERM, end)

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"{}")

    def do_POST(self):
        global seen
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        num_messages = len(body["messages"])
        usage = {"prompt_tokens": num_messages, "completion_tokens": 1,
                 "prompt_tokens_details": {"cached_tokens": seen}}
        seen = num_messages
        events = [{"choices": [{"delta": {"content": "a"}}]}, {"choices": [], "usage": usage}]
        self.answer(b"".join(b"data: " + json.dumps(e).encode() + b"\\n\\n" for e in events))

HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("restart")
    script = folder / "server.py"
    script.write_text(STORING_SERVER)
    server = Server("a", f"{sys.executable} {script} {{port}} {{cache_dir}}")
    return measure_restart(server, {}, folder, seed=0, num_words=80, evict=True)


def test_what_was_stored_is_found_after_the_restart(result: Result) -> None:
    assert (result.cached_before, result.cached_after, result.num_prompt_tokens) == (8, 10, 12)


def test_what_was_stored_is_measured(result: Result) -> None:
    assert result.stored_mib == len("10") / 2**20


def test_times_are_told(result: Result) -> None:
    times = (result.first_request, result.before, result.after, result.cold, result.ready_again)
    assert min(times) > 0
    assert result.cold_over_after == result.cold / result.after


def test_evicting_leaves_a_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"kept")
    evict_from_memory([path])
    assert path.read_bytes() == b"kept"


def test_every_metric_is_a_field_of_a_result() -> None:
    assert set(METRICS) == set(Result.__dataclass_fields__)
