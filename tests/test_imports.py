"""The import table of docs/architecture.md: every module stands in it once, and imports point up it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("broker", "monitor", "workers")
IMPURE = {"os", "socket", "select", "time", "multiprocessing"}
PURE_LAYERS = 2


def module_name(path: Path) -> str:
    """`broker/chat.py` is `broker.chat`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def layers() -> list[list[str]]:
    """The rows of the table, each a list of modules and `package.*` patterns."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("| layer | modules |")[1].split("\n\n")[0]
    return [re.findall(r"`([\w.*]+)`", row) for row in table.splitlines()[2:]]


def layer_of(module: str) -> int:
    """A module's own row, else the row of its package's pattern; AssertionError if that is not one row."""
    named = [index for index, row in enumerate(layers()) if module in row]
    covered = [index for index, row in enumerate(layers()) if f"{module.rpartition('.')[0]}.*" in row]
    found = named or covered
    assert len(found) == 1, f"{module} stands {len(found)} times in the import table of docs/architecture.md"
    return found[0]


def imports_of(module: str) -> set[str]:
    """What a module imports, types included; `from package import module` counts as the module."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            assert node.module
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in MODULES else node.module
                for alias in node.names
            }
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_up_the_table(module: str) -> None:
    own = layer_of(module)
    for imported in imports_of(module):
        if imported.split(".")[0] in PACKAGES:
            assert layer_of(imported) <= own, f"{module} imports {imported}, which is below it"
        if own < PURE_LAYERS:
            assert imported.split(".")[0] not in IMPURE, f"{module} is pure and imports {imported}"
        if module.startswith("monitor"):
            assert not imported.startswith("workers")


def test_the_table_names_nothing_that_is_gone() -> None:
    for row in layers():
        for entry in row:
            package = entry.removesuffix(".*")
            assert package in MODULES, f"the import table names {entry}, which does not exist"


def test_modules_are_short() -> None:
    long = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module for module, lines in long.items() if lines > 400} <= {"broker.supervisor", "broker.chat"}, (
        "a module over 400 lines needs a reason; each of these is one machine whose handlers share one state"
    )
    assert max(long.values()) < 700


@pytest.mark.parametrize("heavy", ["rich", "prompt_toolkit", "logging.config", "asyncio"])
def test_a_start_does_not_import_what_only_other_commands_need(heavy: str) -> None:
    seen: set[str] = set()
    waiting = ["broker.cli", "broker.commands.start"]
    while waiting:
        module = waiting.pop()
        for imported in imports_of(module):
            assert not f"{imported}.".startswith(f"{heavy}."), f"{module} imports {heavy}"
            if imported in MODULES and imported not in seen:
                seen.add(imported)
                waiting.append(imported)
