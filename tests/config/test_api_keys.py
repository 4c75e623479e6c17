"""The file of keys, and keys in the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmd.config.api_keys import ApiKey, digest_of, hash_of, read_api_keys
from llmd.config.load import LoadedSettings, find_faults, load
from llmd.config.sources import Fault
from llmd.errors import ConfigError

ALICE, BOB = hash_of("alice's"), hash_of("bob's")


def read(directory: Path, text: str) -> tuple[tuple[ApiKey, ...], list[str]]:
    path = directory / "keys.toml"
    path.write_text(text)
    faults: list[Fault] = []
    keys = read_api_keys(path, faults)
    return keys, [
        fault.message.removeprefix(f"{path} ").removeprefix(f"{path}") for fault in faults
    ]


def loaded(directory: Path, flags: dict[str, Any] | None = None, **environ: str) -> LoadedSettings:
    return load(flags or {}, None, {"HOME": str(directory), **environ}, directory)


def test_a_key_may_do_everything_but_administer_unless_its_table_says_otherwise(
    tmp_path: Path,
) -> None:
    ((key,), faults) = read(tmp_path, f'[keys.alice]\nhash = "{ALICE}"')
    assert faults == []
    assert key == ApiKey(name="alice", digest=digest_of("alice's"))
    assert (key.models, key.requests_per_minute, key.concurrency) == (None, None, None)
    assert (key.priority, key.admin, key.is_named) == (0, False, True)


def test_a_table_says_what_its_key_may_do(tmp_path: Path) -> None:
    text = f"""
        [keys."bob@example.com"]
        hash = "{BOB}"
        models = ["tiny", "coder"]
        requests_per_minute = 60
        concurrency = 4
        priority = -5
        admin = true
    """
    ((key,), _) = read(tmp_path, text)
    assert key.name == "bob@example.com"
    assert key.models == ("tiny", "coder")
    assert (key.requests_per_minute, key.concurrency, key.priority, key.admin) == (60, 4, -5, True)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", ": holds no key. Add one: llmd key new NAME"),
        ("[keys]", ": holds no key. Add one: llmd key new NAME"),
        ("[keys.a]", "line 1: keys.a.hash is missing. Make a key: llmd key new a"),
        ("keys = 1", "line 1: unknown keys. Write each key as [keys.NAME]."),
        ("[key.a]", "line 1: unknown key. Write each key as [keys.NAME]."),
        ("[keys]\na = 1", "line 2: keys.a is a section. Write it as [keys.a]."),
        (f'[keys.a]\nhash = "{ALICE}"\nmodel = []', "line 3: unknown key keys.a.model."),
        (f'[keys.a]\nhash = "{ALICE}"\nmodels = []', "line 3: keys.a.models has a value"),
        (f'[keys.a]\nhash = "{ALICE}"\nadmin = 1', "line 3: keys.a.admin has a value"),
        (f'[keys.a]\nhash = "{ALICE}"\nconcurrency = 0', "line 3: keys.a.concurrency has"),
        (f'[keys.a]\nhash = "{ALICE}"\npriority = 101', "line 3: keys.a.priority has a value"),
        (f'[keys.a]\nhash = "{ALICE}"\n[keys.b]\nhash = "{ALICE}"', "line 4: keys.b has the same"),
        (f'[keys."a b"]\nhash = "{ALICE}"', "line 1: 'a b' is no name for a key."),
        ("[keys.a", ": Expected ']'"),
    ],
)
def test_a_fault_is_named_with_its_line_and_its_cure(text: str, fault: str, tmp_path: Path) -> None:
    keys, faults = read(tmp_path, text)
    assert len(faults) == 1 and faults[0].startswith(fault), faults
    assert len(keys) <= 1


@pytest.mark.parametrize("line", ['hash = "alice\'s"', 'hash = ["alice\'s"]', "alice_s = 1"])
def test_no_fault_shows_what_may_be_a_secret(line: str, tmp_path: Path) -> None:
    _, faults = read(tmp_path, f"[keys.a]\n{line}")
    assert faults and "alice's" not in str(faults)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*keys\.toml"):
        loaded(tmp_path, {"server.keys_file": str(tmp_path / "keys.toml")}).read_keys()


def test_neither_digest_nor_secret_is_in_a_repr(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(f'[keys.alice]\nhash = "{ALICE}"')
    (tmp_path / "llmd.toml").write_text('[server]\nkeys_file = "keys.toml"')
    found = loaded(tmp_path, LLMD_API_KEY="hidden-secret")
    assert [key.name for key in found.read_keys()] == ["api-key#1", "alice"]
    told = f"{found!r} {found.settings!s}"
    assert "hidden" not in told
    assert ALICE.removeprefix("sha256:") not in told and repr(digest_of("alice's")) not in told


def test_keys_of_the_settings_administer_and_have_no_name_of_their_own(tmp_path: Path) -> None:
    first, second = loaded(tmp_path, LLMD_API_KEY="one, two").read_keys()
    assert (first.digest, second.digest) == (digest_of("one"), digest_of("two"))
    assert first.admin and not first.is_named
    assert first.name != second.name


def test_a_flag_wins_over_the_variable(tmp_path: Path) -> None:
    (key,) = loaded(tmp_path, {"server.api_key": ("flag",)}, LLMD_API_KEY="variable").read_keys()
    assert key.digest == digest_of("flag")


def test_the_same_secret_given_twice_is_one_key(tmp_path: Path) -> None:
    assert len(loaded(tmp_path, {"server.api_key": ("a", "a")}).read_keys()) == 1


def test_a_secret_of_the_settings_may_not_be_in_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'[keys.alice]\nhash = "{ALICE}"')
    with pytest.raises(ConfigError, match=r"keys\.alice has the same secret as api-key#1"):
        flags = {"server.keys_file": path, "server.api_key": ("alice's",)}
        loaded(tmp_path, flags).read_keys()


def test_other_commands_do_not_read_the_keys(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"server.keys_file": "/nobody/may/read/this"})
    assert found.settings.server.keys_file == Path("/nobody/may/read/this")


def test_without_keys_there_are_none(tmp_path: Path) -> None:
    assert loaded(tmp_path).read_keys() == ()


def test_a_check_finds_the_faults_of_the_keys_too(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text("[keys.a]\n[keys.b]")
    config = tmp_path / "llmd.toml"
    config.write_text('[server]\nkeys_file = "keys.toml"')
    _, faults = find_faults(config, {}, tmp_path)
    assert [fault.line for fault in faults] == [1, 2]


def test_a_wrong_value_for_a_key_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, LLMD_SERVER__API_KEY='["secret", 1]')
    assert "secret" not in refused.value.message
