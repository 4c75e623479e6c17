"""The README's examples, run as they stand against the bundled model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest
from live import LiveServer

from llmd.cli import main
from llmd.config.keys import flag, known_keys
from llmd.core.output import MissReason

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(command: list[str], text: str, url: str) -> str:
    text = text.replace("http://127.0.0.1:8080", url)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with TemporaryDirectory() as directory:
        done = subprocess.run(
            [*command, text],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PATH": path, "TMPDIR": directory, "LLMD_URL": url},
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outputs(bundled_server: LiveServer) -> dict[str, list[str]]:
    url = bundled_server.url
    return {
        "sh": [run(["bash", "-c"], block, url) for block in blocks("sh")],
        "python": [run([sys.executable, "-c"], block, url) for block in blocks("python")],
    }


def test_curl_gets_an_answer(outputs: dict[str, list[str]]) -> None:
    message = json.loads(outputs["sh"][0])["choices"][0]["message"]
    assert "tiny" in message["content"].lower()


def test_a_conversation_remembers_the_name(outputs: dict[str, list[str]]) -> None:
    assert "Ada" in outputs["python"][0].splitlines()[-1]


def test_twenty_streams_at_once_each_get_their_own_number(outputs: dict[str, list[str]]) -> None:
    lines = outputs["python"][1].splitlines()
    assert len(lines) == 20
    assert sum(str(number) in line for number, line in enumerate(lines)) >= 19


def test_an_interrupted_stream_had_begun(outputs: dict[str, list[str]]) -> None:
    assert outputs["sh"][1].startswith("data: {")
    assert "the model has stopped too" in outputs["sh"][1]


def test_a_mistake_is_answered_as_the_readme_shows(outputs: dict[str, list[str]]) -> None:
    (shown,) = blocks("json")
    assert json.loads(outputs["sh"][2]) == json.loads(shown)


def test_several_prompts_are_continued_in_one_request(outputs: dict[str, list[str]]) -> None:
    choices = json.loads(outputs["sh"][3])["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert all(len(choice["logprobs"]["tokens"]) == 4 for choice in choices)


def test_a_call_and_a_model_are_filled_in(outputs: dict[str, list[str]]) -> None:
    assert outputs["python"][2].splitlines() == ["city='Delft'", "name='Ada' age=36"]


def test_every_agent_library_answers_from_its_tool(outputs: dict[str, list[str]]) -> None:
    assert len(outputs["python"]) == 8
    assert all("31 degrees and windy" in output for output in outputs["python"][3:7])


def test_a_response_is_continued_and_kept(outputs: dict[str, list[str]]) -> None:
    *text, status = outputs["python"][7].splitlines()
    assert any(text) and status == "completed"


def test_prompts_are_scored(outputs: dict[str, list[str]]) -> None:
    choices = json.loads(outputs["sh"][7])["choices"]
    assert len(choices) == 2
    assert all(len(choice["logprobs"]["token_logprobs"]) > 3 for choice in choices)


def test_a_schema_is_kept(outputs: dict[str, list[str]]) -> None:
    content = json.loads(outputs["sh"][4])["choices"][0]["message"]["content"]
    assert json.loads(content) == {"name": "Ada", "age": 36}


def test_a_thought_stands_apart(outputs: dict[str, list[str]]) -> None:
    message = json.loads(outputs["sh"][5])["choices"][0]["message"]
    assert message["reasoning_content"] and "table" in message["content"]


def test_a_template_writes_and_reads(outputs: dict[str, list[str]]) -> None:
    *shown, parsed = outputs["sh"][6].splitlines()
    assert any("<tool_call>" in line for line in shown)
    assert "<|im_start|>assistant" in shown
    (call,) = json.loads(parsed)["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"x": 1}'}


def test_a_second_question_is_not_read_again(outputs: dict[str, list[str]]) -> None:
    answer = json.loads(outputs["sh"][8])
    num_cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert num_cached == answer["timings"]["cache_n"] == answer["usage"]["prompt_tokens"] - 1
    assert answer["cache_report"]["reason"] is None


def test_the_plan_for_a_model_is_told_before_it_is_loaded(outputs: dict[str, list[str]]) -> None:
    told = outputs["sh"][9]
    assert told.count("it fits") == 2
    assert "1024" in told and "q8_0 / q8_0" in told


def test_models_are_listed_and_loaded_while_the_daemon_runs(outputs: dict[str, list[str]]) -> None:
    _, listed, *_, checked = outputs["sh"][10].splitlines()
    assert listed.split()[:2] == ["tiny", "ready"]
    assert '"success":true' in outputs["sh"][10]
    assert checked.endswith("multi-model.toml: ok")


def test_every_reason_for_a_miss_is_in_the_readme() -> None:
    assert all(f"`{reason.value}`" in README for reason in MissReason)


def options(command: click.Command) -> set[str]:
    """Those of a command and of all below it."""
    found = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found |= options(below)
    return found


DOCKER_FLAGS = {"--build-arg", "--user"}


def test_every_flag_that_the_readme_names_exists() -> None:
    known = {flag(key) for key in known_keys()} | {"--debug", "--help"} | options(main)
    own = re.sub(r"^lm_eval .*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    own = re.sub(r"^(docker|sudo) .*$", "", own, flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", own))
    assert named - DOCKER_FLAGS <= known, named - DOCKER_FLAGS - known


def test_the_commands_that_the_readme_names_exist() -> None:
    named = re.findall(
        r"^llmd ([a-z]+)", "".join([*blocks("sh"), *blocks("console")]), re.MULTILINE
    )
    context = click.Context(main)
    assert set(named) <= set(main.list_commands(context)), named
    assert {"serve", "run", "pull", "doctor"} <= set(named)


def test_make_serve_and_make_test_are_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) <= targets


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert all((ROOT / link).exists() for link in links if not link.startswith("http")), links
