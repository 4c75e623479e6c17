"""scripts/install on machines that lack something, and its re-runs; nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = "dirname cksum sed tail cut grep sleep mkdir cp cat".split()

# A Python that makes a venv of itself and writes down what pip is asked for.
PYTHON = f"""\
#!/bin/sh
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"-m pip install"*)
        echo "$*" >>pip.log
        echo "this is pip"
        exit "${{PIP_STATUS:-0}}" ;;
    *find_spec*) grep -qs . pip.log && [ "${{PIP_STATUS:-0}}" = 0 ] ;;
    *ensurepip*) exit "${{ENSUREPIP_STATUS:-0}}" ;;
    *) exec {sys.executable} "$@" ;;
esac
"""

OLD_PYTHON = "#!/bin/sh\nexit 1\n"


class Machine:
    """A directory with the project's own script, and a PATH with only what is put on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        (directory / "scripts").mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts" / "install", directory / "scripts")
        shutil.copy(ROOT / "pyproject.toml", directory)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.add("id", "#!/bin/sh\necho 1000\n")
        self.add("uname", "#!/bin/sh\necho Linux\n")

    def add(self, name: str, text: str = "#!/bin/sh\n") -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def install(self, *extras: str, **environ: str) -> subprocess.CompletedProcess[str]:
        bash = shutil.which("bash")
        assert bash
        return subprocess.run(
            [bash, str(self.directory / "scripts" / "install"), *extras],
            env={"PATH": str(self.bin), "HOME": str(self.directory), **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def asked_of_pip(self) -> list[str]:
        """What pip was asked for since the last call, without the words that are always there."""
        log = self.directory / "pip.log"
        lines = log.read_text().splitlines() if log.exists() else []
        asked, self._num_read = lines[getattr(self, "_num_read", 0) :], len(lines)
        return [line.removeprefix("-m pip install --verbose ") for line in asked]


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def machine(bare: Machine) -> Machine:
    bare.add("python3", PYTHON)
    bare.add("c++")
    return bare


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install python3.11 python3.11-venv"),
        ("dnf", "sudo dnf install python3.12"),
        ("pacman", "sudo pacman -S python"),
        ("apk", "sudo apk add python3"),
        ("brew", "brew install python@3.13"),
    ],
)
def test_a_missing_python_is_named_with_the_package(
    bare: Machine, manager: str, command: str
) -> None:
    bare.add(manager)
    run = bare.install()
    assert run.returncode == 1
    assert "llmd needs Python 3.11 or later, and none is on the PATH." in run.stderr
    assert command in run.stderr


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install g++"),
        ("dnf", "sudo dnf install gcc-c++"),
        ("pacman", "sudo pacman -S gcc"),
        ("apk", "sudo apk add build-base linux-headers"),
    ],
)
def test_a_missing_compiler_is_named_with_the_package(
    bare: Machine, manager: str, command: str
) -> None:
    bare.add("python3", PYTHON)
    bare.add(manager)
    run = bare.install()
    assert run.returncode == 1
    assert "there is no C++ compiler" in run.stderr
    assert command in run.stderr
    assert not (bare.directory / ".venv").exists()


def test_macos_without_its_tools_is_told_of_xcode(bare: Machine) -> None:
    bare.add("python3", PYTHON)
    bare.add("c++")
    bare.add("brew")
    bare.add("uname", "#!/bin/sh\necho Darwin\n")
    assert "Install one: xcode-select --install" in bare.install().stderr


def test_root_needs_no_sudo(bare: Machine) -> None:
    bare.add("id", "#!/bin/sh\necho 0\n")
    bare.add("apt-get")
    assert "Install it: apt-get install" in bare.install().stderr


def test_an_unknown_system_still_gets_a_name(bare: Machine) -> None:
    assert "or what your system calls it" in bare.install().stderr


def test_an_old_python_is_passed_over_for_a_newer_one(machine: Machine) -> None:
    machine.add("python3.13", OLD_PYTHON)
    assert machine.install().returncode == 0


def test_a_python_that_is_named_but_too_old_is_an_error(machine: Machine) -> None:
    machine.add("mine", OLD_PYTHON)
    run = machine.install(PYTHON="mine")
    assert run.returncode == 1
    assert "PYTHON=mine is not a Python of 3.11 or later" in run.stderr


def test_a_missing_venv_module_is_named_with_the_package(machine: Machine) -> None:
    machine.add("apt-get")
    run = machine.install(ENSUREPIP_STATUS="1")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert run.returncode == 1
    assert f"sudo apt-get install python{version}-venv" in run.stderr


def test_prebuilt_wheels_need_no_compiler(bare: Machine) -> None:
    bare.add("python3", PYTHON)
    assert bare.install(PIP_EXTRA_INDEX_URL="https://wheels.example").returncode == 0


def test_it_says_that_compiling_takes_its_time(machine: Machine) -> None:
    assert "llama-cpp-python compiles once, which takes some minutes" in machine.install().stdout


def test_llmd_is_installed_editable_with_the_extras(machine: Machine) -> None:
    assert machine.install("test", "dev").returncode == 0
    assert machine.asked_of_pip() == ["--editable .[test,dev]"]


def test_the_second_run_does_nothing_and_says_nothing(machine: Machine) -> None:
    machine.install("test")
    machine.asked_of_pip()
    run = machine.install("test")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert machine.asked_of_pip() == []


def test_extras_gather_so_that_serve_and_test_do_not_undo_each_other(machine: Machine) -> None:
    machine.install("test")
    machine.install("dev")
    machine.install()
    machine.install("test")
    assert machine.asked_of_pip() == ["--editable .[test]", "--editable .[test,dev]"]


def test_a_changed_project_file_installs_again(machine: Machine) -> None:
    machine.install()
    machine.asked_of_pip()
    with (machine.directory / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.install()
    assert machine.asked_of_pip() == ["--editable ."]


def test_changed_build_options_compile_again_and_past_pips_cache(machine: Machine) -> None:
    machine.install()
    machine.asked_of_pip()
    machine.install(CMAKE_ARGS="-DGGML_CUDA=on")
    (rebuild, _) = machine.asked_of_pip()
    assert rebuild.startswith("--force-reinstall --no-cache-dir --no-binary llama-cpp-python llama")
    machine.install(CMAKE_ARGS="-DGGML_CUDA=on")
    assert machine.asked_of_pip() == []


def test_a_run_without_build_options_keeps_the_build_that_is_there(machine: Machine) -> None:
    machine.install(CMAKE_ARGS="-DGGML_CUDA=on")
    machine.asked_of_pip()
    machine.install()
    assert machine.asked_of_pip() == []


def test_a_failure_of_pip_shows_its_last_words_and_is_tried_again(machine: Machine) -> None:
    run = machine.install(PIP_STATUS="1")
    assert run.returncode == 1
    assert "this is pip" in run.stderr
    assert f"{machine.directory}/.venv/install.log has all of them." in run.stderr
    machine.asked_of_pip()
    assert machine.install().returncode == 0
    assert machine.asked_of_pip() == ["--editable ."]


@pytest.mark.parametrize("name", ["install", "serve", "test", "check", "fix", "build"])
def test_each_script_can_be_run_and_parses(name: str) -> None:
    path = ROOT / "scripts" / name
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)
