from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from zoo.llama import write_llama
from zoo.template import BAD_SYNTAX, CHATML, CHATML_TOOLS

from llmd.cli import main

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks it up.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
HELLO = {"role": "user", "content": "Hello"}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds a template, tools and messages, and no configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LLMD_CONFIG", raising=False)
    (tmp_path / "t.jinja").write_text(CHATML_TOOLS)
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    (tmp_path / "hello.json").write_text(json.dumps([HELLO]))
    return tmp_path


def template(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(main, ["template", *arguments], input=text)


def rendered(*arguments: str, messages: Any = (HELLO,)) -> str:
    result = template("render", "--template", "t.jinja", *arguments, text=json.dumps(messages))
    assert result.exit_code == 0, result.output
    return result.stdout


def parsed(*arguments: str, text: str) -> Any:
    result = template("parse", "--template", "t.jinja", *arguments, text=text)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_render_prints_exactly_the_prompt() -> None:
    assert rendered() == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_render_can_leave_the_generation_prompt_out() -> None:
    assert rendered("--no-generation-prompt") == "<|im_start|>user\nHello<|im_end|>\n"


def test_render_reads_messages_of_a_file(directory: Path) -> None:
    result = template("render", "--template", "t.jinja", "--messages", "hello.json")
    assert result.stdout.startswith("<|im_start|>user\nHello")


def test_render_takes_the_tools_of_the_option_or_of_the_request() -> None:
    assert '"get_weather"' in rendered("--tools", "tools.json")
    assert '"get_weather"' in rendered(messages={"messages": [HELLO], "tools": [TOOL]})


def test_render_tells_of_tools_where_the_template_does_not(directory: Path) -> None:
    (directory / "t.jinja").write_text(CHATML)
    assert '"get_weather"' in rendered("--tools", "tools.json")
    assert '"get_weather"' not in rendered("--tools", "tools.json", "--raw")


def test_render_takes_kwargs_of_the_option_over_those_of_the_request() -> None:
    request = {"messages": [HELLO], "chat_template_kwargs": {"enable_thinking": True}}
    assert rendered(messages=request).endswith("assistant\n")
    off = rendered("--kwargs", '{"enable_thinking": false}', messages=request)
    assert off.endswith("<think>\n\n</think>\n\n")


def test_render_switches_thinking_as_the_template_knows_how() -> None:
    assert rendered("--no-thinking").endswith("<think>\n\n</think>\n\n")


def test_render_leaves_a_last_answer_open() -> None:
    begun = [HELLO, {"role": "assistant", "content": "Well, "}]
    assert rendered(messages=begun).endswith("<|im_start|>assistant\nWell, ")


def test_render_repairs_messages_unless_they_are_to_stay_raw(directory: Path) -> None:
    strict = "{% for m in messages %}{% if m.role == 'developer' %}{{ raise_exception('no') }}"
    (directory / "t.jinja").write_text(
        strict + "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    messages = [{"role": "developer", "content": "Be"}, HELLO]
    assert rendered(messages=messages) == "[system]Be[user]Hello"
    raw = template("render", "--template", "t.jinja", "--raw", text=json.dumps(messages))
    assert raw.exit_code == 1
    assert raw.stderr.startswith("llmd: ")


def test_render_raw_is_the_template_alone() -> None:
    begun = [HELLO, {"role": "assistant", "content": "Well, "}]
    prompt = rendered("--raw", messages=begun)
    assert prompt.endswith("Well, <|im_end|>\n<|im_start|>assistant\n")


def test_render_writes_text_that_is_no_unicode_as_it_is() -> None:
    command = ["template", "render", "--template", "t.jinja"]
    lone = CliRunner().invoke(main, command, input='[{"role": "user", "content": "\\ud800"}]')
    assert b"\xed\xa0\x80" in lone.stdout_bytes


def test_parse_prints_one_message() -> None:
    assert parsed(text="Hi") == {"role": "assistant", "content": "Hi"}


def test_parse_separates_thoughts_and_calls() -> None:
    text = f"<think>\nhm\n</think>\n\n{CALL}"
    message = parsed("--tools", "tools.json", text=text)
    call = message.pop("tool_calls")[0]
    assert message == {"role": "assistant", "content": None, "reasoning_content": "hm"}
    assert (call["type"], call["function"]["name"], "id" in call) == (
        "function",
        "get_weather",
        False,
    )
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


def test_parse_leaves_calls_without_tools_and_thoughts_in_the_text_if_asked() -> None:
    text = f"<think>\nhm\n</think>\n\n{CALL}"
    message = parsed("--reasoning-format", "none", text=text)
    assert message == {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "tail",
    [
        "<think>\n",
        "assistant\n<think>\n",
        "<|im_start|>assistant\n<think>\n",
        "Hello<|im_end|>\n<|im_start|>assistant\n<think>\n",
    ],
)
def test_parse_begins_where_the_prompt_ended(tail: str) -> None:
    message = parsed("--prompt-tail", tail, text="hm\n</think>\n\nHi")
    assert message == {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}


def test_parse_takes_messages_and_tools_of_a_request(directory: Path) -> None:
    (directory / "request.json").write_text(json.dumps({"messages": [HELLO], "tools": [TOOL]}))
    message = parsed("--messages", "request.json", text=CALL)
    assert message["tool_calls"][0]["function"]["name"] == "get_weather"


def test_parse_streams_deltas_that_add_up_to_the_message() -> None:
    text = f"<think>\nhm, h\u00e9\n</think>\n\nLet me see.\n{CALL}"
    arguments = ["--template", "t.jinja", "--tools", "tools.json", "--stream"]
    result = template("parse", *arguments, text=text)
    *deltas, message = map(json.loads, result.stdout.splitlines())
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert len(deltas) > 8
    for field in ("content", "reasoning_content"):
        assert "".join(delta.get(field, "") for delta in deltas) == message[field]
    assert [call["index"] for call in calls] == [0] * len(calls)
    assert (
        "".join(call["function"]["arguments"] for call in calls)
        == message["tool_calls"][0]["function"]["arguments"]
    )
    assert calls[0]["function"]["name"] == "get_weather"


def test_parse_completes_what_ended_by_itself_and_not_what_was_cut() -> None:
    begun = CALL[: CALL.index("Par") + 3]
    whole = parsed("--tools", "tools.json", text=begun)["tool_calls"][0]["function"]["arguments"]
    cut = parsed("--tools", "tools.json", "--cut", text=begun)["tool_calls"][0]["function"]
    assert json.loads(whole) == {"city": "Par"}
    assert cut["arguments"] == '{"city": "Par'


def test_parse_reads_bytes_that_are_no_text() -> None:
    command = ["template", "parse", "--template", "t.jinja", "--stream"]
    result = CliRunner().invoke(main, command, input=b"a\xff\xe2\x82")
    assert json.loads(result.stdout.splitlines()[-1])["content"] == "a\ufffd\ufffd"


def vectors(directory: Path, *contents: str) -> Path:
    case = {
        "template": "t.jinja",
        "messages": [HELLO],
        "prompt": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
        "output": "Hi",
    }
    path = directory / "v.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(case | {"id": content, "expected": {"content": content}})
            for content in contents
        )
    )
    return path


def test_vectors_that_pass_are_counted(directory: Path) -> None:
    result = template("parse", "--vectors", str(vectors(directory, "Hi")), "--templates", ".")
    assert (result.exit_code, result.stdout) == (0, "1/1 passed\n")


def test_vectors_that_fail_are_named(directory: Path) -> None:
    path = vectors(directory, "Hi", "Ho")
    result = template("parse", "--vectors", str(path), "--templates", ".")
    assert result.exit_code == 1
    assert result.stdout == "FAIL Ho: content: 'Hi' in place of 'Ho'\n1/2 passed\n"


def test_templates_of_vectors_stand_beside_them(directory: Path) -> None:
    (directory / "templates").mkdir()
    (directory / "t.jinja").rename(directory / "templates" / "t.jinja")
    result = template("parse", "--vectors", str(vectors(directory, "Hi")))
    assert (result.exit_code, result.stdout) == (0, "1/1 passed\n")


def test_a_model_brings_its_template_and_its_special_tokens(directory: Path) -> None:
    source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    write_llama(directory / "m.gguf", chat_template=source)
    result = template("render", "./m.gguf", "--messages", "hello.json")
    assert result.stdout == "<s>Hello</s>"


def test_a_models_special_tokens_are_the_templates_alone(directory: Path) -> None:
    write_llama(directory / "m.gguf", chat_template=CHATML_TOOLS)
    messages = json.dumps([{"role": "user", "content": "a<|im_end|>b"}])
    assert template("render", "m.gguf", text=messages).exit_code == 0


def test_a_template_may_stand_in_for_the_models_own(directory: Path) -> None:
    write_llama(directory / "m.gguf")
    (directory / "own.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    result = template("render", "m.gguf", "--template", "own.jinja", "--messages", "hello.json")
    assert result.stdout == "<s>Hello"


def test_a_model_without_a_template_speaks_chatml(directory: Path) -> None:
    write_llama(directory / "m.gguf", chat_template=None)
    result = template("render", "m.gguf", "--messages", "hello.json")
    assert result.stdout == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_a_model_may_be_the_bundled_one_or_a_section(directory: Path) -> None:
    write_llama(directory / "m.gguf", chat_template="{{ messages[0].content }}")
    (directory / "llmd.toml").write_text(
        '[models.small]\nsource = "./m.gguf"\n[models.other]\nsource = "./m.gguf"\n'
        'chat_template = "own.jinja"\n'
    )
    (directory / "own.jinja").write_text("own {{ messages[0].content }}")
    texts = [
        template("render", model, "--messages", "hello.json").stdout
        for model in ("small", "other", "tiny")
    ]
    assert texts[:2] == ["Hello", "own Hello"]
    assert "Hello" in texts[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["render"],
        ["parse"],
        ["parse", "--template", "t.jinja", "--prompt-tail", "", "--messages", "hello.json"],
        ["parse", "--reasoning-format", "other"],
        ["absent"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert template(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", "--template", "absent.jinja"], "Check the path of the template."),
        (["render", "absent.gguf"], "Give the path of a .gguf file"),
        (["render", "--template", "t.jinja", "--kwargs", "{"], "--kwargs is no JSON: "),
        (["render", "--template", "t.jinja", "--kwargs", "1"], "--kwargs is no JSON object."),
        (["render", "--template", "t.jinja", "--tools", "absent.json"], "Check the path."),
        (["parse", "--vectors", "absent.jsonl"], "Check the file."),
    ],
)
def test_a_failure_is_one_line_with_its_cure(arguments: list[str], words: str) -> None:
    result = template(*arguments, text="[]")
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_bad_template_is_named(directory: Path) -> None:
    (directory / "t.jinja").write_text(BAD_SYNTAX)
    result = template("render", "--template", "t.jinja", text=json.dumps([HELLO]))
    assert result.exit_code == 1
    assert "not valid Jinja: line 1" in result.stderr
