"""A child gets the modules of its code, and touches none where there are no others."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from broker import code
from broker.code import Code, loaded_modules, put_modules


def found(modules: dict[str, ModuleType]) -> ModuleType | None:
    """What an `import` in a child with these modules finds under the name of one of ours."""
    seen: list[ModuleType | None] = []
    entries = {"router": lambda _birth: seen.append(sys.modules.get("broker.errors"))}
    Code(SimpleNamespace(), entries, dict, modules=modules).run("router", None)  # type: ignore[arg-type]
    return seen[0]


def test_modules_are_put_only_after_others_have_been(monkeypatch: pytest.MonkeyPatch) -> None:
    before = loaded_modules()
    new = {**before, "broker.errors": ModuleType("broker.errors")}
    monkeypatch.setattr(code, "_exchanged", False)
    try:
        assert found(new) is before["broker.errors"], "what was imported is what there is"
        put_modules(before)
        assert found(new) is new["broker.errors"]
        assert found(before) is before["broker.errors"]
    finally:
        put_modules(before)
