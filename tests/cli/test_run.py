"""`llmd run` as a person and as a script meet it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live import LiveServer
from pseudo_terminal import PseudoTerminal, on_terminal
from scripted_daemon import Answer, Endless, delta, end, scripted_daemon, text

COMMAND = (sys.executable, "-m", "llmd", "run")
PROMPT = "\n>>> "
FULL = {"message": "the context is full. Shorten it.", "code": "context_length_exceeded"}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Without the settings of whoever runs the tests; and where nobody listens."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LLMD_") and name not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    home = str(tmp_path)
    return {**kept, "HOME": home, "XDG_CONFIG_HOME": home, "LLMD_SERVER__UDS": f"{home}/none"}


def answer(
    *arguments: str, environ: dict[str, str], cwd: Path, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments], input=given, capture_output=True, env=environ, cwd=cwd, timeout=60,
        check=False,
    )  # fmt: skip


def told(done: subprocess.CompletedProcess[bytes]) -> str:
    """What it said on stderr, without what it says of a slow load."""
    lines = done.stderr.decode().splitlines()
    return "\n".join(line for line in lines if not line.startswith("loading "))


@contextmanager
def chat(
    *arguments: str, environ: dict[str, str], cwd: Path, columns: int = 80
) -> Iterator[PseudoTerminal]:
    with on_terminal([*COMMAND, *arguments], environ, cwd, columns=columns) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def say(terminal: PseudoTerminal, typed: str) -> str:
    """Type a line; what came up to the next prompt, without what was typed."""
    terminal.type(f"{typed}\r")
    terminal.expect(f"{typed}\n")
    return terminal.expect(PROMPT)


@pytest.mark.gguf
def test_a_prompt_is_answered_by_a_daemon_of_its_own_with_the_text_alone(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    environ["TMPDIR"] = str(tmp_path / "tmp")
    done = answer(
        "tiny", "Hello! Who are you?", "--temperature", "0", environ=environ, cwd=tmp_path
    )
    assert (done.returncode, told(done)) == (0, "")
    assert done.stdout.startswith(b"I am tiny") and done.stdout.endswith(b".\n")
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.gguf
def test_keys_that_are_asked_of_others_do_not_matter_to_a_daemon_of_its_own(
    environ: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "llmd.toml"
    config.write_text("[server]\napi_key = ['wanted']\nkeys_file = '/nobody/may/read.toml'\n")
    environ["LLMD_SERVER__API_KEY"] = "wanted too"
    done = answer("tiny", "Hello!", "--config", str(config), environ=environ, cwd=tmp_path)
    assert (done.returncode, told(done)) == (0, "")
    assert done.stdout


def test_the_prompt_comes_before_the_text_on_stdin(environ: dict[str, str], tmp_path: Path) -> None:
    with scripted_daemon([delta(reasoning_content="Hm."), text("*raw*\x1b[1m"), end()]) as daemon:
        environ["LLMD_URL"] = daemon.url
        options = ("--system", "Be brief.", "--max-tokens", "9", "--temperature", "0.5",
                   "--no-think")  # fmt: skip
        done = answer("scripted", "sum", "this", *options, environ=environ, cwd=tmp_path,
                      given="a\nß\n".encode())  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"*raw*\x1b[1m\n", b"")
    (asked,) = daemon.asked
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "sum this\n\na\nß"},
    ]
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("scripted", 9, 0.5)
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tiny"], 2, "the prompt is empty. Give one, or a text on stdin."),
        (["tiny", "hi", "--temperature", "-1"], 2, "--temperature"),
        (["tiny", "hi", "--url", "ftp://x"], 1, "llmd: 'ftp://x' is no address"),
        (["tiny", "hi", "--url", "unix:none"], 1, "llmd: no llmd is running at unix:none."),
        (["nowhere.gguf", "hi"], 1, "llmd: there is no model file nowhere.gguf."),
    ],
)
def test_what_cannot_be_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, words: str, environ: dict[str, str], tmp_path: Path
) -> None:
    done = answer(*arguments, environ=environ, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in done.stderr.decode() and b"Traceback" not in done.stderr


@pytest.mark.gguf
def test_why_a_daemon_of_its_own_does_not_start_is_told(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    done = answer("broken.gguf", "hi", environ=environ, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = told(done).splitlines()
    assert line.startswith("llmd: ") and "broken.gguf" in line


def test_ctrl_c_ends_a_single_answer_with_130_and_stops_the_daemon(
    environ: dict[str, str], tmp_path: Path
) -> None:
    endless = Endless("Once upon")
    with scripted_daemon(endless) as daemon:
        command = [*COMMAND, "scripted", "hi", "--url", daemon.url]
        with on_terminal(command, environ, tmp_path) as terminal:
            terminal.expect("Once upon")
            assert not terminal.echoes()
            terminal.type("\x03")
            assert terminal.end() == 130
            assert terminal.echoes()
        assert endless.left.wait(30)


def test_a_conversation_goes_on_through_stops_errors_and_commands(
    environ: dict[str, str], tmp_path: Path
) -> None:
    endless = Endless("Once upon a")
    script: list[Answer] = [
        [delta(reasoning_content="Let me see."), text("**One** of"), text(" two."), end()],
        endless,
        (400, FULL),
        [text("half"), {"error": {"message": "the engine failed. Try again.", "code": None}}],
        [text("fine"), end("length", usage={"completion_tokens": 7})],
    ]
    environ["LLMD_URL"] = ""
    with (
        scripted_daemon(*script, context_length=64) as daemon,
        chat("scripted", "--url", daemon.url, environ=environ, cwd=tmp_path) as terminal,
    ):
        assert "scripted, 64 tokens of context." in terminal.seen
        shown = say(terminal, "first")
        assert shown == "Let me see.\n\nOne of two.\n"
        assert "\x1b[1mOne" in terminal.raw and "\x1b[2mLet me see." in terminal.raw

        terminal.type("second\r")
        terminal.expect("Once upon a")
        terminal.type("\x03")
        terminal.expect("\n[stopped]\n")
        assert endless.left.wait(30)
        terminal.expect(PROMPT)

        assert "llmd: the context is full. Shorten it. /clear begins anew." in say(terminal, "3rd")
        assert say(terminal, "4th") == "half\nllmd: the engine failed. Try again.\n"
        assert "[cut off: the context is full; /clear begins anew]" in say(terminal, "fifth")
        say(terminal, "/clear")
        terminal.type("\x04")
        assert terminal.end() == 0
    said = [[message["content"] for message in asked["messages"]] for asked in daemon.asked]
    assert said == [
        ["first"],
        ["first", "**One** of two.", "second"],
        ["first", "**One** of two.", "second", "Once upon a", "3rd"],
        ["first", "**One** of two.", "second", "Once upon a", "4th"],
        ["first", "**One** of two.", "second", "Once upon a", "4th", "half", "fifth"],
    ]


def test_commands_and_several_lines_are_typed(environ: dict[str, str], tmp_path: Path) -> None:
    call = {"index": 0, "function": {"name": "look", "arguments": '{"at": 1}'}}
    timings = {"prompt_n": 5, "prompt_per_second": 50.0, "cache_n": 2, "predicted_n": 3,
               "predicted_per_second": 30.0}  # fmt: skip
    script = [
        [delta(tool_calls=[call]), end("tool_calls", timings=timings)],
        [text("ok"), end()],
        [text("ok"), end()],
    ]
    with (
        scripted_daemon(*script) as daemon,
        chat("--url", daemon.url, environ=environ, cwd=tmp_path) as terminal,
    ):
        assert "/clear" in say(terminal, "/help")
        assert "There is no command /nope; /help lists them." in say(terminal, "/nope")
        say(terminal, "/system Be brief.")
        assert "Be brief." in say(terminal, "/system")
        say(terminal, "/think on")
        assert 'calls look({"at": 1})' in say(terminal, "/etc/passwd is what?")
        assert "prompt 5 tokens at 50/s (2 more were cached)" in say(terminal, "/stats")

        terminal.type('"""one\r')
        terminal.expect("... ")
        terminal.type('two"""\r')
        terminal.expect(PROMPT)
        terminal.type("\x1b[200~three\nfour\x1b[201~\r")
        terminal.expect(PROMPT)

        terminal.type("not sent")
        terminal.expect("not sent")
        terminal.type("\x03")
        terminal.expect(PROMPT)
        terminal.type("\x03")
        terminal.expect("Ctrl-C once more, Ctrl-D or /exit leaves.")
        terminal.expect(PROMPT)
        terminal.type("\x03")
        assert terminal.end() == 0
    users = [asked["messages"][-1]["content"] for asked in daemon.asked]
    assert users == ["/etc/passwd is what?", "one\ntwo", "three\nfour"]
    assert all(asked["messages"][0]["content"] == "Be brief." for asked in daemon.asked)
    assert daemon.asked[0]["chat_template_kwargs"] == {"enable_thinking": True}


@pytest.mark.gguf
def test_a_daemon_that_runs_and_serves_the_model_is_used(
    bundled_server: LiveServer, environ: dict[str, str], tmp_path: Path
) -> None:
    del environ["LLMD_SERVER__UDS"]
    environ["LLMD_SERVER__PORT"] = str(bundled_server.port)
    with chat("tiny", environ=environ, cwd=tmp_path) as terminal:
        assert "loading" not in terminal.seen
        assert "tiny" in say(terminal, "Hello! Who are you?")
        terminal.type("exit\r")
        assert terminal.end() == 0
    refused = answer("other", "hi", "--url", bundled_server.url, environ=environ, cwd=tmp_path)
    assert b"serves tiny, not other. Name one of those" in refused.stderr


def private_socket(directory: Path) -> socket.socket:
    """A connection to the one private daemon in `directory`; it ends when the daemon does."""
    (path,) = directory.glob("llmd-*/llmd.sock")
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(30)
    connected.connect(str(path))
    return connected


@pytest.mark.gguf
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_its_own_daemon_ends_with_it_however_that_ends(
    how: signal.Signals, code: int, environ: dict[str, str], tmp_path: Path
) -> None:
    environ["TMPDIR"] = str(tmp_path)
    with chat("tiny", environ=environ, cwd=tmp_path) as terminal:
        assert "loading tiny ..." in terminal.seen
        with private_socket(tmp_path) as connected:
            terminal.process.send_signal(how)
            assert terminal.end() == code
            assert connected.recv(1) == b""
        if how is not signal.SIGKILL:
            assert terminal.echoes()
            assert list(tmp_path.glob("llmd-*")) == []


def test_ctrl_z_gives_the_shell_its_terminal_and_fg_goes_on(
    environ: dict[str, str], tmp_path: Path
) -> None:
    endless = Endless("Once upon")
    with (
        scripted_daemon(endless) as daemon,
        on_terminal(["/bin/sh", "-i"], {**environ, "PS1": "sh> "}, tmp_path) as terminal,
    ):
        terminal.expect("sh> ")
        terminal.type(f"{' '.join(COMMAND)} --url {daemon.url}\r")
        terminal.expect(PROMPT)
        terminal.type("hi\r")
        terminal.expect("Once upon")
        terminal.type("\x1a")
        terminal.expect("sh> ")
        terminal.type("fg\r")
        terminal.expect("llmd run")
        endless.go_on(" a time")
        # What is open is shown once more, as the shell wrote in between.
        terminal.expect("Once upon a time")
        terminal.type("\x03")
        terminal.expect(f"[stopped]\n{PROMPT}")
        terminal.type("\x1a")
        terminal.expect("sh> ")
        terminal.type("fg\r")
        terminal.expect("llmd run")
        terminal.expect(">>> ")
        terminal.type("exit\r")
        terminal.expect("sh> ")
        terminal.type("exit\r")
        assert terminal.end() == 0
