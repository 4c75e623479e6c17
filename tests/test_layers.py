"""The house's rules for imports and sizes, held against every module of llmd.

A change of design is a change of these tables and of ARCHITECTURE.md, which draws them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

FOUNDATION = "errors core config"

# What each room may import of llmd, besides itself:
# cli > daemon > api > serving > registry > engine > llama > core, with the leaves chat, store and
# responses.
ROOMS = {
    "errors": "",
    "core": "",
    "config": "errors core",
    "llama": FOUNDATION,
    "chat": FOUNDATION,
    "store": FOUNDATION,
    "responses": FOUNDATION,
    "recording": FOUNDATION,
    "metrics": f"{FOUNDATION} engine registry serving",
    "engine": f"{FOUNDATION} llama store",
    "registry": f"{FOUNDATION} llama engine chat store",
    "serving": f"{FOUNDATION} engine registry chat recording",
    "api": f"{FOUNDATION} registry serving responses recording metrics",
    "daemon": f"{FOUNDATION} llama engine registry serving responses api store",
    "cli": f"{FOUNDATION} daemon store chat recording",
    "__main__": "cli",
}

# Modules that alone of their room may import another one.
ONLY_BY = {("cli", "daemon"): {"llmd.cli.serve", "llmd.cli.doctor"}}

# Foreign libraries, and what needs care in the standard one: the rooms and modules that may.
DOORS = {
    "click": "cli",
    "huggingface_hub": "store",
    "jinja2": "chat",
    "llama_cpp": "llama",
    "llguidance": "engine.grammar",
    "markdown_it": "cli.terminal",
    "numpy": "llama engine api.openai.encode_embeddings",
    "orjson": "api",
    "rich": "cli",
    "prometheus_client": "metrics",
    "pydantic": "config api cli.serve",
    "sqlite3": "responses",
    "starlette": "api",
    "uvicorn": "daemon",
    "asyncio": "engine.client registry serving responses.store api daemon",
    "concurrent": "engine.disk_tier responses.store recording.writer",
    "multiprocessing": "",
    "threading": "engine.thread engine.grammar cli.tether cli.terminal.rousing",
}

MAX_FILE_LINES = 399
MAX_FUNCTION_LINES = 60

PACKAGE = Path(__file__).parents[1] / "llmd"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def imported(module: str) -> Iterator[str]:
    """Every module that `module` names in an import, wherever in the file."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module} imports relatively"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def edges(module: str) -> set[str]:
    """The modules of llmd that it imports; the package itself holds only the version."""
    return {name for name in imported(module) if name.startswith("llmd.")}


def room(module: str) -> str:
    return module.split(".")[1]


def is_allowed(module: str, target: str) -> bool:
    here, there = room(module), room(target)
    if here == there:
        return True
    if there not in ROOMS[here].split():
        return False
    return module in ONLY_BY.get((here, there), {module})


def may_open(module: str, door: str) -> bool:
    """Whether `module` is, or is below, a place that the door lists."""
    path = module.removeprefix("llmd.")
    return any(path == place or path.startswith(f"{place}.") for place in DOORS[door].split())


INNER = [name for name in MODULES if name != "llmd"]


@pytest.mark.parametrize(
    ("module", "target", "expected"),
    [
        ("llmd.engine.engine", "llmd.llama.context", True),
        ("llmd.llama.context", "llmd.engine.engine", False),
        ("llmd.api.app", "llmd.engine.client", False),
        ("llmd.api.app", "llmd.llama.model", False),
        ("llmd.serving.generation", "llmd.llama.model", False),
        ("llmd.chat.prompt.template", "llmd.engine.engine", False),
        ("llmd.cli.serve", "llmd.daemon.server", True),
        ("llmd.cli", "llmd.daemon.server", False),
        ("llmd.cli.show", "llmd.store.gguf", True),
        ("llmd.cli.template", "llmd.chat.prompt.template", True),
        ("llmd.store.gguf", "llmd.chat.prompt.template", False),
        ("llmd.chat.prompt.template", "llmd.store.gguf", False),
        ("llmd.cli.serve", "llmd.api.app", False),
        ("llmd.core.event", "llmd.config.settings", False),
    ],
)
def test_the_tables_say_what_the_architecture_says(
    module: str, target: str, expected: bool
) -> None:
    assert is_allowed(module, target) is expected


def test_every_room_has_a_rule() -> None:
    assert {room(module) for module in INNER} <= set(ROOMS)


def test_imports_go_only_downwards() -> None:
    wrong = [
        f"{module} -> {target}"
        for module in INNER
        for target in sorted(edges(module))
        if not is_allowed(module, target)
    ]
    assert wrong == []


def test_imports_form_no_cycle() -> None:
    try:
        TopologicalSorter({module: edges(module) - {module} for module in INNER}).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


def test_foreign_libraries_come_in_by_their_own_doors() -> None:
    wrong = [
        f"{module} -> {name}"
        for module in MODULES
        for name in sorted({target.split(".")[0] for target in imported(module)})
        if name in DOORS and not may_open(module, name)
    ]
    assert wrong == []


def test_every_foreign_library_has_a_door() -> None:
    known = {"llmd", *DOORS, *sys.stdlib_module_names}
    names = {target.split(".")[0] for module in MODULES for target in imported(module)}
    assert names - known == set()


def test_files_fit_their_size() -> None:
    sizes = {module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: size for module, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_functions_fit_their_size() -> None:
    sizes = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}
