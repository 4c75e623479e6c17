"""`llmd key`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmd.cli import main
from llmd.config.api_keys import digest_of, read_api_keys
from llmd.config.sources import Fault


@pytest.mark.parametrize("name", ["alice", "bob@example.com", "a.b-c_1"])
def test_what_is_printed_is_a_file_of_keys_without_the_key(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmd", "key", "new", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (secret,) = (word for word in done.stderr.split() if word.startswith("sk-llmd-"))
    assert len(secret) >= 50 and secret not in done.stdout
    path = tmp_path / "keys.toml"
    path.write_text(done.stdout)
    faults: list[Fault] = []
    (key,) = read_api_keys(path, faults)
    assert faults == []
    assert (key.name, key.digest) == (name, digest_of(secret))


def test_no_two_keys_are_the_same() -> None:
    told = [
        json.loads(CliRunner().invoke(main, ["key", "new", "a", "--json"]).stdout) for _ in range(2)
    ]
    assert [each["name"] for each in told] == ["a", "a"]
    assert told[0]["key"] != told[1]["key"] and told[0]["hash"] != told[1]["hash"]


@pytest.mark.parametrize("name", ["a b", "", "-x", "a\nb", "x" * 65, "api-key#1"])
def test_a_name_that_would_not_do_in_a_log_is_refused(name: str) -> None:
    done = CliRunner().invoke(main, ["key", "new", "--", name])
    assert done.exit_code == 2
    assert done.stdout == "" and "no name for a key" in done.stderr
