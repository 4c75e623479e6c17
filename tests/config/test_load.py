from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmd.config import sources
from llmd.config.load import LoadedSettings, find_faults, load
from llmd.errors import ConfigError


@pytest.fixture(autouse=True)
def no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "etc" / "llmd.toml")


def configure(
    directory: Path,
    text: str = "",
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    (directory / "llmd.toml").write_text(text)
    return load(flags or {}, None, {"HOME": str(directory), **(environ or {})}, directory)


def fault(directory: Path, text: str = "", **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        configure(directory, text, **more)
    return caught.value.message


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load({}, None, {"HOME": str(tmp_path)}, tmp_path)
    assert loaded.file is None
    assert loaded.settings.server.port == 8080
    assert loaded.origin("server", "port") == "default"


def test_the_file_is_looked_for_from_the_most_special_to_the_most_general(tmp_path: Path) -> None:
    named = tmp_path / "named.toml"
    variable = tmp_path / "variable.toml"
    here = tmp_path / "llmd.toml"
    user = tmp_path / "xdg" / "llmd" / "llmd.toml"
    system = tmp_path / "etc" / "llmd.toml"
    for path in (named, variable, here, user, system):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("")
    environ = {"LLMD_CONFIG": str(variable), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert load({}, named, environ, tmp_path).file == named
    assert load({}, None, environ, tmp_path).file == variable
    del environ["LLMD_CONFIG"]
    for path in (here, user, system):
        assert load({}, None, environ, tmp_path).file == path
        path.unlink()


def test_the_users_file_is_below_home_where_xdg_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".config" / "llmd" / "llmd.toml"
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert load({}, None, {"HOME": str(tmp_path)}, tmp_path).file == path


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Check --config"):
        load({}, tmp_path / "absent.toml", {}, tmp_path)
    with pytest.raises(ConfigError, match="Check LLMD_CONFIG"):
        load({}, None, {"LLMD_CONFIG": "absent.toml"}, tmp_path)


def test_a_fault_of_syntax_names_the_file_and_the_line(tmp_path: Path) -> None:
    message = fault(tmp_path, "[server]\nport = = 1\n")
    assert "llmd.toml" in message
    assert "line 2" in message


def test_a_file_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigError, match="Save it as UTF-8"):
        load({}, path, {}, tmp_path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "mark.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\nport = 1\n")
    assert load({}, path, {}, tmp_path).settings.server.port == 1


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "[server]\nhost = 'file'\nport = 1\nlog_json = true\n"
    environ = {"LLMD_SERVER__HOST": "environment", "LLMD_SERVER__PORT": "2"}
    loaded = configure(tmp_path, text, {"server.host": "flag"}, environ)
    server = loaded.settings.server
    assert (server.host, server.port, server.log_json) == ("flag", 2, True)


def test_each_value_knows_its_origin(tmp_path: Path) -> None:
    environ = {"LLMD_MODEL__SAMPLING__TOP_K": "5"}
    loaded = configure(tmp_path, "[model]\nctx_size = 10\n", {"model.parallel": 2}, environ)
    assert loaded.origin("model", "ctx_size") == f"{tmp_path}/llmd.toml line 2"
    assert loaded.origin("model", "sampling", "top_k") == "LLMD_MODEL__SAMPLING__TOP_K"
    assert loaded.origin("model", "parallel") == "--parallel"
    assert loaded.origin("model", "threads") == "default"


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    assert configure(tmp_path, environ={"LLMD_SERVER__PORT": ""}).settings.server.port == 8080


def test_a_list_comes_from_the_environment_as_json(tmp_path: Path) -> None:
    environ = {"LLMD_MODEL__SAMPLING__DRY_SEQUENCE_BREAKERS": '["a", "b"]'}
    sampling = configure(tmp_path, environ=environ).settings.model.sampling
    assert sampling.dry_sequence_breakers == ("a", "b")


def test_relative_paths_in_a_file_are_meant_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "x.toml"
    path.write_text(
        "[model]\nsource = 'm/a.gguf'\nchat_template = 't.jinja'\ncache_dir = '../cache'\n"
    )
    model = load({}, path, {}, tmp_path).settings.model
    assert model.source == str(tmp_path / "elsewhere" / "m" / "a.gguf")
    assert model.chat_template == tmp_path / "elsewhere" / "t.jinja"
    assert model.cache_dir == tmp_path / "elsewhere" / ".." / "cache"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [("auto", "auto"), ("none", "none"), ("state", Path("elsewhere/state")), ("/s", Path("/s"))],
)
def test_a_state_directory_may_be_a_word(tmp_path: Path, wish: str, expected: Path | str) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "x.toml"
    path.write_text(f"[server]\nstate_dir = '{wish}'\n")
    found = load({}, path, {}, tmp_path).settings.server.state_dir
    assert found == (tmp_path / expected if isinstance(expected, Path) else expected)


@pytest.mark.parametrize("source", ["tiny", "org/repo:Q4_K_M", "/models/a.gguf", "~/a.gguf"])
def test_a_source_that_is_no_relative_path_stays_as_it_is(tmp_path: Path, source: str) -> None:
    assert configure(tmp_path, f"[model]\nsource = '{source}'\n").settings.model.source == source


def test_an_unknown_key_is_answered_with_file_line_and_nearest_key(tmp_path: Path) -> None:
    message = fault(tmp_path, "\n[server]\nprot = 1\n")
    expected = f"{tmp_path}/llmd.toml line 3: unknown key server.prot. Did you mean server.port?"
    assert message == expected


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("port = 1", "Did you mean server.port?"),
        ("[server]\nctx_size = 1", "Did you mean model.ctx_size?"),
        ("[sever]\nport = 1", "Did you mean server.port?"),
        ("[sever]", "Did you mean server?"),
        ("[model.sampling]\ntemprature = 1", "Did you mean model.sampling.temperature?"),
        ("[models.a]\nctxsize = 1", "Did you mean models.a.ctx_size?"),
        ("[nothing]\nlike = 'it'", "Remove it; `llmd serve --help` lists the keys."),
    ],
)
def test_the_nearest_known_key_is_offered(tmp_path: Path, text: str, cure: str) -> None:
    assert fault(tmp_path, text).endswith(cure)


def test_a_value_out_of_bounds_names_line_key_value_and_bounds(tmp_path: Path) -> None:
    message = fault(tmp_path, "[server]\nport = 70000\n")
    assert message == (
        f"{tmp_path}/llmd.toml line 2: server.port cannot be 70000. "
        f"Set it to a whole number from 0 to 65535."
    )


@pytest.mark.parametrize(
    "text",
    [
        "[model]\ngpu_layers = 'some'",
        "[model]\nthreads = true",
        "[model]\nctx_size = 1.5",
        "[model]\nalias = ''",
        "[model]\ncache_ram = '2 gigs'",
        "[model]\ncache_ram = 1.5",
        "[model]\ncache_ram = -1",
        "[model]\ncache_disk = true",
        "[model]\nmax_itl_ms = -1",
        "[model.sampling]\ndry_sequence_breakers = ['a', 1]",
        "[model.sampling]\ntemperature = nan",
    ],
)
def test_a_wrong_type_tells_what_to_set(tmp_path: Path, text: str) -> None:
    message = fault(tmp_path, text)
    assert "line 2" in message
    assert "Set it to" in message


def test_a_wrong_size_tells_how_to_write_one(tmp_path: Path) -> None:
    message = fault(tmp_path, environ={"LLMD_MODEL__CACHE_RAM": "lots"})
    assert message == (
        "LLMD_MODEL__CACHE_RAM: model.cache_ram cannot be 'lots'. "
        "Set it to a size such as 512MiB or 2GiB."
    )


def test_a_section_given_as_a_value_is_explained(tmp_path: Path) -> None:
    assert fault(tmp_path, "server = 1").endswith("Write it as [server].")
    assert fault(tmp_path, "[models]\na = 1").endswith("Write it as [models.a].")


def test_an_unknown_variable_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    message = fault(tmp_path, environ={"LLMD_SERVER__PROT": "1"})
    assert message.endswith("Did you mean LLMD_SERVER__PORT?")


def test_a_variable_that_is_no_setting_is_left_alone(tmp_path: Path) -> None:
    configure(tmp_path, environ={"LLMD_URL": "http://x", "OTHER__PORT": "x"})


def test_a_bad_value_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    message = fault(tmp_path, environ={"LLMD_MODEL__THREADS": "many"})
    assert message == (
        "LLMD_MODEL__THREADS: model.threads cannot be 'many'. "
        "Set it to a whole number from 0 to 512."
    )


def test_keys_that_contradict_each_other_are_refused_with_the_cure(tmp_path: Path) -> None:
    message = fault(tmp_path, "[model]\ncache_type_v = 'q4_0'\nflash_attn = 'off'\n")
    assert message == (
        f"{tmp_path}/llmd.toml line 2: model.cache_type_v q4_0 needs flash attention: set "
        f"flash_attn to auto or on, or this one to f16."
    )


TWO = "[model]\nctx_size = 1\nthreads = 1\n[models.a]\nctx_size = 2\n[models.b]\nthreads = 3\n"


def test_without_a_section_the_common_one_is_the_model(tmp_path: Path) -> None:
    loaded = configure(tmp_path, "[model]\nsource = '/m/x.gguf'\n")
    assert loaded.settings.models == {"x": loaded.settings.model}
    assert loaded.preloaded == ("x",)
    assert loaded.origin("models", "x", "source").endswith("line 2")


def test_a_named_model_lies_over_the_common_section(tmp_path: Path) -> None:
    loaded = configure(tmp_path, "[model]\nctx_size = 1\nthreads = 1\n[models.a]\nctx_size = 2\n")
    (model,) = loaded.settings.models.values()
    assert (model.ctx_size, model.threads) == (2, 1)
    assert loaded.settings.model.ctx_size == 1
    assert loaded.origin("models", "a", "ctx_size").endswith("line 5")
    assert loaded.origin("models", "a", "threads").endswith("line 3")
    assert loaded.preloaded == ("a",)


def test_an_empty_named_section_is_a_model_too(tmp_path: Path) -> None:
    assert list(configure(tmp_path, "[models.a]").settings.models) == ["a"]


def test_flags_and_environment_win_over_named_sections(tmp_path: Path) -> None:
    environ = {"LLMD_MODEL__THREADS": "7"}
    models = configure(tmp_path, TWO, {"model.ctx_size": 5}, environ).settings.models
    assert [(model.ctx_size, model.threads) for model in models.values()] == [(5, 7), (5, 7)]


def test_all_sections_are_served_on_demand_where_no_model_is_named(tmp_path: Path) -> None:
    loaded = configure(tmp_path, TWO)
    assert list(loaded.settings.models) == ["a", "b"]
    assert loaded.preloaded == ()


def test_a_section_may_ask_to_be_loaded_at_the_start_or_not(tmp_path: Path) -> None:
    text = "[models.a]\n[models.b]\npreload = true\n"
    assert configure(tmp_path, text).preloaded == ("b",)
    assert configure(tmp_path, "[models.a]\npreload = false\n").preloaded == ()


def test_models_name_sections_and_files(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"
    path.write_text(TWO)
    loaded = load({}, path, {}, tmp_path, ["x.gguf", "b"])
    models = loaded.settings.models
    assert [(name, m.source, m.threads) for name, m in models.items()] == [
        ("x", "x.gguf", 1),
        ("b", "tiny", 3),
    ]
    assert loaded.preloaded == ("x",)
    assert loaded.origin("models", "x", "source") == "MODEL"


def test_the_source_of_the_environment_names_a_section_too(tmp_path: Path) -> None:
    settings = configure(tmp_path, TWO, environ={"LLMD_MODEL__SOURCE": "b"}).settings
    assert list(settings.models) == ["b"]
    assert (settings.models["b"].ctx_size, settings.models["b"].threads) == (1, 3)


def test_an_alias_is_the_served_id(tmp_path: Path) -> None:
    assert list(configure(tmp_path, "[models.a]\nalias = 'org/b'\n").settings.models) == ["org/b"]


def test_two_models_of_one_name_are_refused_with_both(tmp_path: Path) -> None:
    text = "[models.a]\nsource = '/x.gguf'\n[models.b]\nsource = '/y.gguf'\nalias = 'a'\n"
    assert fault(tmp_path, text) == (
        f"{tmp_path}/llmd.toml line 5: two models would be served as a: /x.gguf and /y.gguf. Give "
        f"each an alias of its own, in a [models.NAME] section."
    )


def test_a_fault_in_a_section_that_is_not_served_is_found(tmp_path: Path) -> None:
    message = fault(tmp_path, TWO + "parallel = -1\n", flags={"model.source": "a"})
    assert "line 8: models.b.parallel cannot be -1" in message


def test_settings_can_be_read_again(tmp_path: Path) -> None:
    loaded = configure(tmp_path, "[server]\nport = 1\n", {"model.threads": 2})
    (tmp_path / "llmd.toml").write_text("[server]\nport = 2\n")
    again = loaded.again()
    assert (again.settings.server.port, again.settings.model.threads) == (2, 2)
    (tmp_path / "llmd.toml").write_text("[server]\nport = no\n")
    with pytest.raises(ConfigError, match="line 2"):
        again.again()


ALL_WRONG = """[server]
prot = 1
port = 70000
[model]
threads = true
flash_attn = "off"
cache_type_v = "q8_0"
[models.a]
ctxsize = 1
parallel = -1
"""


def test_all_faults_are_found_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"
    path.write_text(ALL_WRONG)
    environ = {"LLMD_SERVER__HOTS": "x", "LLMD_MODEL__PARALLEL": "many"}
    file, faults = find_faults(path, environ, tmp_path)
    assert file == path
    assert [fault.line for fault in faults] == [2, 3, 5, 7, 9, None, None]
    assert [fault.message.partition(": ")[2][:22] for fault in faults[:5]] == [
        "unknown key server.pro",
        "server.port cannot be ",
        "model.threads cannot b",
        "model.cache_type_v q8_",
        "unknown key models.a.c",
    ]


def test_a_fault_of_syntax_is_the_only_one_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"
    path.write_text("[server]\nport = = 1\nhost = 7\n")
    ((fault,), line) = find_faults(path, {}, tmp_path)[1], 2
    assert fault.line == line and fault.message.endswith("Correct the TOML there.")


def test_a_good_file_has_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"
    path.write_text(TWO)
    assert find_faults(path, {}, tmp_path) == (path, [])
