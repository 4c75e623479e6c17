from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from llmd.cli import main
from llmd.config.keys import flag, known_keys
from llmd.config.load import LoadedSettings
from llmd.errors import AddressInUse

PROMISED = (
    "--host --port --uds --config --alias --ctx-size --parallel --kv-tokens --batch-size "
    "--ubatch-size --threads --threads-batch --gpu-layers --flash-attn --cache-type-k "
    "--cache-type-v --chat-template --strict-model-names --log-level --log-json --max-queue "
    "--max-itl-ms --cache-ram --cache-dir --cache-disk --swa-full --no-swa-full"
).split()


class Daemon:
    """Stands in for llmd.daemon.server: keeps what it was to serve, and ends as it is told."""

    def __init__(self) -> None:
        self.loaded: LoadedSettings | None = None
        self.end: BaseException | None = None

    def run(self, loaded: LoadedSettings) -> None:
        self.loaded = loaded
        if self.end is not None:
            raise self.end


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon()
    module = ModuleType("llmd.daemon.server")
    module.run = daemon.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llmd.daemon.server", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LLMD_CONFIG", raising=False)
    return daemon


def serve(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments])


def test_every_promised_option_is_there() -> None:
    words = serve("--help").output.replace(",", " ").split()
    assert [option for option in PROMISED if option not in words] == []


def test_every_key_but_the_source_and_the_sampling_defaults_is_an_option() -> None:
    words = serve("--help").output.split()
    keys = [key for key in known_keys() if len(key) == 2 and key != ("model", "source")]
    assert [key for key in keys if flag(key) not in words] == []


def test_no_two_keys_share_an_option() -> None:
    flags = [flag(key) for key in known_keys() if len(key) == 2]
    assert len(flags) == len(set(flags))


def test_options_become_settings_of_their_type(daemon: Daemon) -> None:
    result = serve(
        "m.gguf", "--port", "8081", "--uds", "s", "--gpu-layers", "7", "--log-json", "--alias", "a"
    )
    assert result.exit_code == 0, result.output
    assert daemon.loaded is not None
    settings = daemon.loaded.settings
    assert (settings.server.port, settings.server.uds, settings.server.log_json) == (
        8081,
        Path("s"),
        True,
    )
    (model,) = settings.models.values()
    assert (list(settings.models), model.source, model.gpu_layers) == (["a"], "m.gguf", 7)


def test_options_of_the_cache_and_the_queue_become_settings(daemon: Daemon) -> None:
    result = serve(
        "--max-queue", "0", "--max-itl-ms", "33.5", "--cache-ram", "1.5GiB", "--cache-dir", "d",
        "--cache-disk", "500", "--no-swa-full",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert daemon.loaded is not None
    model = daemon.loaded.settings.model
    assert (model.max_queue, model.max_itl_ms, model.swa_full) == (0, 33.5, False)
    assert (model.cache_ram, model.cache_dir, model.cache_disk) == (1536 * 2**20, Path("d"), 500)


def test_help_names_what_an_option_takes() -> None:
    words = " ".join(serve("--help").output.split())
    for shown in ("--cache-ram SIZE", "--max-itl-ms MILLISECONDS", "[2GiB]",
                  "--sse-ping-interval SECONDS"):  # fmt: skip
        assert shown in words


def test_an_option_not_given_lets_the_environment_and_the_file_through(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llmd.toml").write_text("[server]\nlog_json = true\nport = 1\n")
    monkeypatch.setenv("LLMD_SERVER__PORT", "2")
    serve()
    assert daemon.loaded is not None
    assert (daemon.loaded.settings.server.log_json, daemon.loaded.settings.server.port) == (True, 2)


def test_a_switch_can_be_turned_off_against_the_file(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "llmd.toml").write_text("[server]\nlog_json = true\n")
    serve("--no-log-json")
    assert daemon.loaded is not None
    assert daemon.loaded.settings.server.log_json is False


def test_the_file_can_be_named(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[server]\nport = 5\n")
    serve("--config", "other.toml")
    assert daemon.loaded is not None
    assert daemon.loaded.origin("server", "port") == f"{tmp_path}/other.toml line 2"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--port", "70000", "'70000' is not a whole number from 0 to 65535."),
        ("--gpu-layers", "all", "'all' is not auto or a whole number from 0 to 10000."),
        ("--cache-ram", "2 gigs", "'2 gigs' is not a size such as 512MiB or 2GiB."),
        ("--max-queue", "-1", "'-1' is not a whole number from 0 to 2147483647."),
        ("--flash-attn", "yes", "'yes' is not auto, on or off."),
    ],
)
def test_a_bad_value_is_wrong_usage(option: str, value: str, words: str) -> None:
    result = serve(option, value)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_several_models_are_served_in_their_order(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "llmd.toml").write_text("[models.c]\nctx_size = 5\n[models.d]\n")
    assert serve("b.gguf", "c", "a.gguf", "--threads", "2").exit_code == 0
    assert daemon.loaded is not None
    models = daemon.loaded.settings.models
    assert [(name, model.source) for name, model in models.items()] == [
        ("b", "b.gguf"),
        ("c", "tiny"),
        ("a", "a.gguf"),
    ]
    assert [model.threads for model in models.values()] == [2, 2, 2]
    assert models["c"].ctx_size == 5
    assert daemon.loaded.preloaded == ("b",)


def test_a_model_given_twice_is_refused(daemon: Daemon) -> None:
    result = serve("x/a.gguf", "y/a.gguf")
    assert result.exit_code == 1
    assert result.output == (
        "llmd: MODEL: two models would be served as a: x/a.gguf and y/a.gguf. Give each an alias "
        "of its own, in a [models.NAME] section.\n"
    )
    assert daemon.loaded is None


def test_a_failure_of_the_daemon_is_one_line(daemon: Daemon) -> None:
    daemon.end = AddressInUse("127.0.0.1:8080 is in use. Choose another --port.")
    result = serve()
    assert result.exit_code == 1
    assert result.output == "llmd: 127.0.0.1:8080 is in use. Choose another --port.\n"


def test_ctrl_c_is_a_clean_end(daemon: Daemon) -> None:
    daemon.end = KeyboardInterrupt()
    result = serve()
    assert (result.exit_code, result.output) == (0, "")


def test_an_option_for_several_values_is_repeated_or_takes_commas(daemon: Daemon) -> None:
    serve("--api-key", "a", "--api-key", "b,c", "--cors", "https://a.example")
    assert daemon.loaded is not None
    keys = daemon.loaded.settings.server.api_key
    assert [key.get_secret_value() for key in keys] == ["a", "b", "c"]
    assert daemon.loaded.settings.server.cors == ("https://a.example",)
    assert daemon.loaded.settings.server.allowed_hosts == ()


def test_a_key_that_is_none_is_refused_and_not_shown(daemon: Daemon) -> None:
    for given in ("", "very-secret,"):
        refused = serve("--api-key", given)
        assert refused.exit_code == 2
        assert "--api-key" in refused.output and "secret" not in refused.output


@pytest.mark.parametrize("path", ["llm", "/llm/", "/l m", "/a?b"])
def test_a_path_before_the_routes_has_one_shape(path: str, daemon: Daemon) -> None:
    assert serve("--root-path", path).exit_code == 2
    assert serve("--root-path", "/a/b").exit_code == 0
