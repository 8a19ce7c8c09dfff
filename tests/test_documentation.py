"""What the documents say exists, and what exists is in the documents: commands, flags, events, columns, links."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from broker import __version__
from broker.cli import COMMANDS, EXIT_STATUS_HELP, main
from broker.commands import ps
from broker.control_commands import handlers
from broker.settings import SETTINGS
from broker.supervisor import Supervisor
from monitor.legend import FLAGS, STATES
from monitor.table import COLUMNS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
TOURS = (ROOT / "docs" / "processes.md", ROOT / "docs" / "processes.zh-CN.md")
CONTROL_PROTOCOL = ROOT / "docs" / "control-protocol.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"

SETTING_FLAGS = {setting.flag for setting in SETTINGS}
EVERYWHERE = {"-h", "--help", "--state-dir"}
"""Flags that the tables of commands do not repeat for each of them."""

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def relative(path: Path) -> str:
    """A document's name in the output of a test."""
    return str(path.relative_to(ROOT))


@cache
def text(path: Path) -> str:
    """A document."""
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A document without its blocks of code, where a bracket is no link and a # no heading."""
    return FENCED.sub("", text(path))


def cells(path: Path) -> Iterator[list[str]]:
    """The rows of all tables of a document."""
    for line in prose(path).splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@cache
def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of `broker COMMAND`."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"broker.commands.{command}").add_arguments(parser)
    return parser


def flags_of(command: str) -> set[str]:
    """All flags of `broker COMMAND`, short ones and --help included."""
    # The public API of argparse has no way to ask a parser for its options.
    return set(parser_of(command)._option_string_actions)


def subcommands_of(command: str) -> dict[str, argparse.ArgumentParser]:
    """The parsers of `broker COMMAND NAME` by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser_of(command)._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def row_of(readme: Path, command: str) -> list[str]:
    """The command's row of a README: the command line, what it does, its options."""
    rows = [row for row in cells(readme) if re.match(rf"`broker {command}\b", row[0])]
    assert len(rows) == 1, f"{relative(readme)} has {len(rows)} rows for `broker {command}` in its table of commands"
    return rows[0]


@pytest.mark.parametrize("readme", READMES, ids=relative)
def test_the_two_commands_come_first(readme: Path) -> None:
    beginning, separator, _ = text(readme).partition("make test")
    assert separator
    assert "make start" in beginning


@pytest.mark.parametrize("readme", READMES, ids=relative)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_with_its_flags_and_arguments(command: str, readme: Path) -> None:
    usage, does, options = row_of(readme, command)
    assert does
    mentioned = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", options))
    own = flags_of(command) - SETTING_FLAGS - EVERYWHERE
    if command == "config":  # has those of `start`, says its row
        own -= flags_of("start")
    assert mentioned & flags_of(command) >= own, "a flag is missing"
    assert mentioned <= flags_of(command), "a flag is named that there is not"
    positionals = [str(action.metavar) for action in parser_of(command)._actions if not action.option_strings]
    assert re.findall(r"[A-Z]+", usage) == positionals


SUBCOMMANDS = [(command, name) for command in COMMANDS for name in subcommands_of(command)]
MANUALS = {"experiment": ("experiments.md",), "lab": ("lab.md", "lab.zh-CN.md")}
"""Where the subcommands are explained, each in a section of its own."""


@pytest.mark.parametrize(("command", "name"), SUBCOMMANDS)
def test_every_subcommand_has_a_section_with_its_flags_and_arguments(command: str, name: str) -> None:
    parser = subcommands_of(command)[name]
    for manual in MANUALS[command]:
        document = ROOT / "docs" / manual
        _, found, section = text(document).partition(f"\n## `broker {command} {name}`")
        assert found, f"{manual} has no section on `broker {command} {name}`"
        section = section.partition("\n## ")[0]
        mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", section))
        common = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text(document).partition("\n## ")[0]))
        own = {flag for flag in parser._option_string_actions if flag.startswith("--")} - EVERYWHERE
        assert own <= mentioned | common, f"{manual}: a flag is missing"
        assert mentioned <= own | EVERYWHERE, f"{manual} names a flag that there is not"


def test_no_document_names_a_command_that_there_is_not() -> None:
    for document in DOCUMENTS:
        commands = re.findall(r"`broker ([a-z]+)\b", prose(document))
        for block in FENCED.findall(text(document)):
            commands += re.findall(r"^\$ (?:.*[;|&] )?(?:\S*/)?broker ([a-z]+)\b", block, re.MULTILINE)
        assert set(commands) <= set(COMMANDS), relative(document)


def test_settings_are_documented_in_one_place_which_the_readme_names() -> None:
    for command in ("start", "config"):
        assert flags_of(command) >= SETTING_FLAGS
    documented = text(ROOT / "docs" / "settings.md")
    for flag in sorted(SETTING_FLAGS | {"--config"}):
        assert f"`{flag}" in documented, flag
    for readme in READMES:
        assert "(docs/settings.md)" in row_of(readme, "start")[2]


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_the_help_tells_the_exit_statuses(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if command is None:
        assert main(["--help"]) == 0
    else:
        with pytest.raises(SystemExit) as ending:
            main([command, "--help"])
        assert ending.value.code == 0
    assert EXIT_STATUS_HELP in capsys.readouterr().out


def test_the_readme_tells_the_exit_statuses() -> None:
    name, _, statuses = EXIT_STATUS_HELP.partition(": ")
    assert f"{name.capitalize()}: {statuses}." in " ".join(text(READMES[0]).split())
    chinese = prose(READMES[1]).partition("退出状态：")[2].partition("。")[0]
    assert re.findall(r"\d", chinese) == re.findall(r"\d", statuses)


def test_every_control_command_has_a_section_and_every_section_a_command() -> None:
    _, _, section = text(CONTROL_PROTOCOL).partition("\n## Commands\n")
    documented = re.findall(r"^### `(\w+)`$", section, re.MULTILINE)
    # The table is made without asking the supervisor for anything.
    assert sorted(documented) == sorted(handlers(cast(Supervisor, None)))


def test_every_kind_of_event_is_documented() -> None:
    (kinds,) = [row[1] for row in cells(CONTROL_PROTOCOL) if row[0] == "`kind`"]
    assert set(re.findall(r"`([\w-]+)`", kinds)) == set(_kinds_recorded())


def _kinds_recorded() -> Iterator[str]:
    """What stands as the second argument of each call of `EventLog.record`, or in either arm of it."""
    for path in (ROOT / "broker").rglob("*.py"):
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
                kind = node.args[1]
                arms = [kind.body, kind.orelse] if isinstance(kind, ast.IfExp) else [kind]
                for arm in arms:
                    assert isinstance(arm, ast.Constant), f"{path.name}:{node.lineno}: not a kind that can be read off"
                    yield str(arm.value)


@pytest.mark.parametrize("tour", TOURS, ids=relative)
def test_every_column_and_every_key_of_the_table_is_explained(tour: Path) -> None:
    rows = list(cells(tour))
    beginning = next(index for index, row in enumerate(rows) if row[0] == "NAME")
    headings = [heading for row in rows[beginning:] for heading in row[0].split(", ") if heading]
    assert headings == [column.heading for column in COLUMNS]
    keys = [key for row in rows[beginning:] for key in re.findall(r"`(\w+)`", row[1])]
    assert sorted(keys) == sorted(ps.KEYS)


@pytest.mark.parametrize("tour", TOURS, ids=relative)
@pytest.mark.parametrize("letter", [*STATES, *FLAGS])
def test_every_letter_of_stat_is_explained(letter: str, tour: Path) -> None:
    assert any(f"`{letter}`" in row[0] for row in cells(tour))


def test_the_tours_show_the_same_things_and_have_the_same_sections() -> None:
    english, chinese = TOURS
    assert FENCED.findall(text(english)) == FENCED.findall(text(chinese))
    assert _levels(english) == _levels(chinese)


def _levels(document: Path) -> list[str]:
    """The headings without their words."""
    return re.findall(r"^#+", prose(document), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{relative(document)} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{relative(document)} links to {target}"


def _anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings: small letters, no punctuation, hyphens for blanks."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documented = {target for row in cells(CONTRIBUTING) for target in re.findall(r"^`make ([a-z-]+)`", row[0])}
    assert documented == targets - {"help"}
    for document in DOCUMENTS:
        assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text(document))) <= targets, relative(document)


def test_the_picture_is_one_of_the_dashboard() -> None:
    picture = ElementTree.fromstring(text(ROOT / "docs" / "images" / "top.svg"))
    words = "".join(picture.itertext()).replace("\xa0", " ")
    for shown in ("supervisor", "router", "worker-0", "acceptor-0", "STAT", "was killed by SIGKILL"):
        assert shown in words


def test_the_changes_have_this_version() -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\]", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
