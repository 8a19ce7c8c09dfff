"""The settings: every way to give each of them, which one wins, what is refused, and that the docs know them all."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.irc_settings import TextFile
from broker.messages import CHILD_ROLES
from broker.operators import Operator, hashed
from broker.setting_kinds import Number, Setting, Whole, toml_string
from broker.settings import SETTINGS, Resolved, Settings, add_arguments, from_arguments, resolve
from broker.text import UNWANTED
from broker.urls import parse_listener_url

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"
NOWHERE = {"XDG_RUNTIME_DIR": "/run/user/1000"}
BY_NAME = {setting.name: setting for setting in SETTINGS}

LICENSE = Path(__file__).parents[1] / "LICENSE"
HASH = hashed("sesame", b"salt")

EXAMPLES: dict[str, tuple[str, str, object]] = {
    "state_dir": ("/srv/broker", '"/srv/broker"', Path("/srv/broker")),
    "listen": ("chat://[::1]:7", '["chat://[::1]:7"]', (parse_listener_url("chat://[::1]:7"),)),
    "workers": ("3", "3", 3),
    "nice": ("worker=7", "{worker = 7}", {"worker": 7}),
    "lang": ("en", '"en"', "en"),
    "log_level": ("debug", '"debug"', "debug"),
    "max_connections": ("10", "10", 10),
    "max_connections_per_address": ("20", "20", 20),
    "name_timeout_seconds": ("0.5", "0.5", 0.5),
    "durability": ("power", '"power"', "power"),
    "max_line_bytes": ("512", "512", 512),
    "rate_lines_per_second": ("10", "10", 10.0),
    "rate_burst_lines": ("30", "30", 30),
    "address_rate_lines_per_second": ("100.5", "100.5", 100.5),
    "address_rate_burst_lines": ("300", "300", 300),
    "max_behind_bytes": ("65536", "65_536", 65536),
    "max_behind_seconds": ("5", "5", 5.0),
    "heartbeat_seconds": ("0.25", "0.25", 0.25),
    "hang_seconds": ("4", "4", 4.0),
    "restart_intensity": ("0", "0", 0),
    "restart_period_seconds": ("60", "60", 60.0),
    "stop_timeout_seconds": ("0", "0", 0.0),
    "irc_server_name": ("irc.example.org", '"irc.example.org"', "irc.example.org"),
    "irc_server_description": ("a small server", '"a small server"', "a small server"),
    "irc_network_name": ("Example", '"Example"', "Example"),
    "irc_password": ("sesame", '"sesame"', "sesame"),
    "irc_motd_file": (str(LICENSE), f'"{LICENSE}"', TextFile(LICENSE, tuple(LICENSE.read_text().splitlines()))),
    "irc_admin": ("ann@example.org", '"ann@example.org"', "ann@example.org"),
    "irc_operators": (f"ann={HASH}", f'{{ann = "{HASH}"}}', (Operator("ann", HASH),)),
    "irc_ping_seconds": ("30", "30", 30.0),
    "irc_disabled_capabilities": ("batch", '["batch"]', ("batch",)),
    "listener_rates": (
        "chat://127.0.0.1:8888=10/30",
        '{"chat://127.0.0.1:8888" = "10/30"}',
        {"chat://127.0.0.1:8888": (10.0, 30)},
    ),
    "exempt_addresses": ("192.0.2.7", '["192.0.2.7"]', ("192.0.2.7/32",)),
}
"""For each setting a value that is not its default: as text, as TOML, and what it is."""


def written(directory: Path, text: str, name: str = "broker.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(
    command_line: Mapping[str, str | list[str] | None] | None = None,
    environ: Mapping[str, str] | None = None,
    config_path: Path | None = None,
) -> str:
    """The message with which these settings are refused: one line, nothing in it that a terminal would obey."""
    with pytest.raises(ConfigError) as caught:
        resolve(command_line or {}, NOWHERE | dict(environ or {}), config_path)
    message = str(caught.value)
    assert UNWANTED.search(message) is None
    return message


def parsed(*argv: str, environ: Mapping[str, str] = NOWHERE) -> Resolved:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    return from_arguments(parser.parse_args(argv), environ)


# The table.


def test_the_table_and_the_dataclass_are_the_same_list() -> None:
    assert [setting.name for setting in SETTINGS] == [field.name for field in dataclasses.fields(Settings)]
    assert set(EXAMPLES) == set(BY_NAME), "an example for each"


def test_the_defaults() -> None:
    settings = resolve({}, NOWHERE).settings
    assert settings == Settings(
        state_dir=Path("/run/user/1000/broker"),
        listen=(
            parse_listener_url("chat://127.0.0.1:8888"),
            parse_listener_url("irc://127.0.0.1:6667"),
            parse_listener_url("chat+unix:/run/user/1000/broker/chat.sock"),
        ),
        workers=max(1, min(len(os.sched_getaffinity(0)) - 1, 64)),
        nice={},
        lang="zh",
        log_level="info",
        durability="process",
        max_connections=16384,
        max_connections_per_address=16384,
        name_timeout_seconds=60.0,
        max_line_bytes=4096,
        rate_lines_per_second=5000.0,
        rate_burst_lines=10000,
        address_rate_lines_per_second=0.0,
        address_rate_burst_lines=10000,
        max_behind_bytes=1024 * 1024,
        max_behind_seconds=30.0,
        heartbeat_seconds=1.0,
        hang_seconds=10.0,
        restart_intensity=12,
        restart_period_seconds=10.0,
        stop_timeout_seconds=10.0,
        irc_server_name="irc.broker.local",
        irc_server_description="a group chat made of processes",
        irc_network_name="Broker",
        irc_password="",
        irc_motd_file=None,
        irc_admin="",
        irc_operators=(),
        irc_ping_seconds=120.0,
        irc_disabled_capabilities=(),
        listener_rates={},
        exempt_addresses=(),
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_default_that_is_given_is_accepted(setting: Setting) -> None:
    default = getattr(resolve({}, NOWHERE).settings, setting.name)
    document = tomllib.loads(f"value = {setting.kind.to_toml(default)}")
    read = setting.kind.from_toml(document["value"], Path("/"))
    assert read == default
    assert type(read) is type(default)


def test_every_role_of_a_process_may_have_a_nice_value() -> None:
    given = [f"{role}=1" for role in ("supervisor", *CHILD_ROLES)]
    assert resolve({"nice": given}, NOWHERE).settings.nice == dict.fromkeys(("supervisor", *CHILD_ROLES), 1)


# Where a setting comes from.


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_source_by_itself(name: str, tmp_path: Path) -> None:
    setting = BY_NAME[name]
    text, toml, value = EXAMPLES[name]
    path = written(tmp_path, f"{name} = {toml}\n")
    # A burst is nothing without its rate.
    environ = NOWHERE | ({"BROKER_ADDRESS_RATE_LINES_PER_SECOND": "1"} if name == "address_rate_burst_lines" else {})
    before = resolve({}, environ).origins
    for resolved, origin in (
        (parsed(setting.flag, text, environ=environ), f"command line {setting.flag}"),
        (parsed(environ=environ | {setting.variable: text}), f"environment {setting.variable}"),
        (parsed("--config", str(path), environ=environ), f"file {path}"),
        (parsed(environ=environ | {"BROKER_CONFIG": str(path)}), f"file {path}"),
    ):
        got = getattr(resolved.settings, name)
        assert got == value
        assert type(got) is type(value)
        assert resolved.origins == {**before, name: origin}


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = written(tmp_path, "workers = 2\nlang = 'en'\nmax_line_bytes = 1000\n")
    environ = NOWHERE | {"BROKER_WORKERS": "3", "BROKER_LANG": "zh"}
    resolved = resolve({"workers": "4", "lang": None}, environ, path)
    assert (resolved.settings.workers, resolved.origins["workers"]) == (4, "command line --workers")
    assert (resolved.settings.lang, resolved.origins["lang"]) == ("zh", "environment BROKER_LANG")
    assert (resolved.settings.max_line_bytes, resolved.origins["max_line_bytes"]) == (1000, f"file {path}")
    assert (resolved.settings.hang_seconds, resolved.origins["hang_seconds"]) == (10.0, "default")


def test_config_on_the_command_line_over_the_variable(tmp_path: Path) -> None:
    one, two = written(tmp_path, "workers = 1", "1.toml"), written(tmp_path, "workers = 2", "2.toml")
    assert parsed("--config", str(one), environ=NOWHERE | {"BROKER_CONFIG": str(two)}).settings.workers == 1
    assert parsed(environ=NOWHERE | {"BROKER_CONFIG": ""}).origins["workers"] == "default"
    with pytest.raises(ConfigError, match="--config: '' is not the name of a file"):
        parsed("--config", "")


def test_an_empty_variable_is_not_set() -> None:
    environ = NOWHERE | {setting.variable: "" for setting in SETTINGS}
    assert set(resolve({}, environ).origins.values()) == {"default"}


def test_nice_values_are_merged_role_by_role(tmp_path: Path) -> None:
    path = written(tmp_path, "[nice]\nworkers = 1\nrouter = 1\nacceptor = 1\n")
    resolved = resolve({"nice": ["worker=-3"]}, NOWHERE | {"BROKER_NICE": "worker=2, router=2"}, path)
    assert resolved.settings.nice == {"worker": -3, "router": 2, "acceptor": 1}
    assert resolved.origins["nice"] == (
        f"worker: command line --nice, router: environment BROKER_NICE, acceptor: file {path}"
    )
    assert resolve({"nice": ["worker=1", "router=2"]}, NOWHERE).origins["nice"] == "command line --nice"


@pytest.mark.parametrize("text", ["worker=5,router=-5", "worker=5 router=-5", " workers=5,  router=-5 "])
def test_nice_values_in_one_string(text: str) -> None:
    assert resolve({}, NOWHERE | {"BROKER_NICE": text}).settings.nice == {"worker": 5, "router": -5}


def test_listeners_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = written(tmp_path, 'listen = ["chat://127.0.0.1:1", "chat://127.0.0.1:2"]')
    environ = NOWHERE | {"BROKER_LISTEN": "chat://127.0.0.1:3  chat+unix:/x"}
    assert [str(url) for url in resolve({}, environ, path).settings.listen] == ["chat://127.0.0.1:3", "chat+unix:/x"]
    given = resolve({"listen": ["chat://h:0", "chat+unix:/a b", "chat://h:0"]}, environ, path).settings.listen
    assert [str(url) for url in given] == ["chat://h:0", "chat+unix:/a b", "chat://h:0"], "port 0 is another each time"


def test_the_default_socket_is_in_the_state_directory_that_was_chosen() -> None:
    listen = resolve({"state_dir": "/srv/broker"}, NOWHERE).settings.listen
    assert [str(url) for url in listen] == [
        "chat://127.0.0.1:8888",
        "irc://127.0.0.1:6667",
        "chat+unix:/srv/broker/chat.sock",
    ]


def test_relative_paths_start_at_the_file_or_at_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/proc")
    path = written(tmp_path, 'state_dir = "state"\nlisten = ["chat+unix:here.sock"]')
    from_file = resolve({}, NOWHERE, path).settings
    assert from_file.state_dir == tmp_path / "state"
    assert from_file.listen[0].path == str(tmp_path / "here.sock")
    from_flags = resolve({"state_dir": "state", "listen": ["chat+unix:here.sock"]}, NOWHERE, path).settings
    assert from_flags.state_dir == Path("/proc/state")
    assert from_flags.listen[0].path == "/proc/here.sock"


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    settings = resolve({"state_dir": "~/s", "listen": ["chat+unix:~/c.sock"]}, NOWHERE).settings
    assert settings.state_dir == Path("/home/ann/s")
    assert settings.listen[0].path == "/home/ann/c.sock"
    message = refusal({"state_dir": "~no-such-user-here/s"})
    assert message.startswith("--state-dir: '~no-such-user-here/s' is in a home directory that cannot be found")


# What is refused.


@pytest.mark.parametrize(
    "name", [name for name, setting in BY_NAME.items() if isinstance(setting.kind, (Whole, Number))]
)
def test_bounds_are_kept_from_every_source_and_told(name: str, tmp_path: Path) -> None:
    setting = BY_NAME[name]
    assert isinstance(setting.kind, (Whole, Number))
    least, most = setting.kind.least, setting.kind.most
    for bound in (least, most):
        assert setting.kind.from_strings([str(bound)], Path("/")) == bound
    outside = [least - 0.01 if isinstance(setting.kind, Number) else least - 1, most + 1, -1]
    for value in outside:
        assert setting.kind.allowed in refusal({name: str(value)})
        assert refusal({}, {setting.variable: str(value)}).startswith(f"{setting.variable}: ")
        path = written(tmp_path, f"{name} = {value}")
        assert refusal({}, {}, path).startswith(f"{path}: {name}: {value} is not allowed; give {setting.kind.allowed}")


@pytest.mark.parametrize(
    "text", ["", " ", "x", "1 ", "+1", "1_0", "0x1", "1e3", "５", "nan", "inf", "-inf", "1.", ".5", "1,5", "9" * 5000]
)
def test_numbers_as_text_are_read_strictly(text: str) -> None:
    for name in ("workers", "hang_seconds"):
        message = refusal({name: text})
        assert message.startswith(f"{BY_NAME[name].flag}: ")
        assert BY_NAME[name].kind.allowed in message
        assert len(message) < 200
    assert refusal({"workers": "1.0"}) == "--workers: '1.0' is not allowed; give a whole number from 1 to 64"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("workers = 1.0", "workers: 1.0 is not allowed; give a whole number from 1 to 64"),
        ("workers = '1'", "workers: '1' is not allowed; give a whole number"),
        ("workers = true", "workers: true is not allowed; give a whole number"),
        ("workers = [1]", "workers: a list is not allowed; give a whole number"),
        ("workers = {}", "workers: a table is not allowed; give a whole number"),
        ("workers = 2020-01-01", "workers: 2020-01-01 is not allowed"),
        ("hang_seconds = nan", "hang_seconds: nan is not allowed; give a number from 0.2 to 3600"),
        ("hang_seconds = inf", "hang_seconds: inf is not allowed"),
        ("hang_seconds = -inf", "hang_seconds: -inf is not allowed"),
        ("hang_seconds = true", "hang_seconds: true is not allowed"),
        ("hang_seconds = '3'", "hang_seconds: '3' is not allowed"),
        ("rate_lines_per_second = 0.05", "give a number from 0.1 to 1000000, or 0 for no limit"),
        ("lang = 'fr'", "lang: 'fr' is not allowed; give one of zh, en"),
        ("lang = 1", "lang: 1 is not allowed; give one of zh, en"),
        ("log_level = 'INFO'", "log_level: 'INFO' is not allowed; give one of debug, info, warning, error"),
        ("state_dir = 1", "state_dir: 1 is not allowed; give a directory"),
        ("state_dir = ''", "state_dir: '' is not allowed; give a directory"),
        (r'state_dir = "/a\u001b[2J"', r"state_dir: '/a\x1b[2J' is not allowed"),
        (r'state_dir = "/a\u202e"', r"state_dir: '/a\u202e' is not allowed"),
        ("listen = 'chat://h:1'", "listen: 'chat://h:1' is not allowed; give a list of one or more URLs"),
        ("listen = []", "listen: an empty list is not allowed; give a list of one or more URLs of the forms chat://"),
        ("listen = [1]", "listen: 1 is not allowed; give a list of one or more URLs"),
        ("listen = ['chat://:1']", "listen: bad URL 'chat://:1': it has no host"),
        ("listen = ['chat://h:1', 'chat://H:1']", "listen: chat://h:1 is given twice; once is enough"),
        (
            "nice = 5",
            "nice: 5 is not allowed; give a table of ROLE=N where ROLE is supervisor, router",
        ),
        ("nice = {wrker = 5}", "nice: there is no role 'wrker', the nearest is 'worker'; give ROLE=N"),
        ("nice = {worker = 20}", "nice: the nice value 20 of worker is not allowed; give ROLE=N where"),
        ("nice = {worker = -21}", "nice: the nice value -21 of worker is not allowed"),
        ("nice = {worker = 1.5}", "nice: the nice value 1.5 of worker is not allowed"),
        ("nice = {worker = true}", "nice: the nice value true of worker is not allowed"),
        ("nice = {worker = 1, workers = 2}", "nice: the nice value of worker is given twice"),
    ],
)
def test_a_wrong_value_in_a_file(line: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path, line)
    message = refusal({}, {}, path)
    assert message.startswith(f"{path}: ")
    assert told in message


@pytest.mark.parametrize("text", ["worker", "worker=", "=5", "worker=x", "worker=1.5", "worker:5", ",", "a=1=2"])
def test_a_wrong_nice_value_as_text(text: str) -> None:
    assert refusal({"nice": [text]}).startswith("--nice: ")
    assert "give ROLE=N where ROLE is supervisor, router, worker or acceptor, and N from -20 to 19" in refusal(
        {}, {"BROKER_NICE": text}
    )


def test_the_same_role_twice_on_one_command_line() -> None:
    assert (
        refusal({"nice": ["worker=1", "workers=2"]}) == "--nice: the nice value of worker is given twice; give it once"
    )


def test_a_wrong_value_is_refused_even_where_another_overrides_it(tmp_path: Path) -> None:
    assert refusal({"workers": "2"}, {"BROKER_WORKERS": "many"}).startswith("BROKER_WORKERS: 'many'")
    path = written(tmp_path, "workers = 'many'")
    assert refusal({"workers": "2"}, {"BROKER_WORKERS": "2"}, path).startswith(f"{path}: workers: 'many'")


def test_a_state_directory_too_long_for_its_sockets_is_refused() -> None:
    longest = "/" + "x" * (107 - 1 - len("/control.sock"))
    assert resolve({"state_dir": longest}, NOWHERE).settings.state_dir == Path(longest)
    assert "at most 94 bytes" in refusal({"state_dir": longest + "x"})
    message = refusal({}, {"XDG_RUNTIME_DIR": "/" + "x" * 100})
    assert message.startswith("the default of state_dir: ")
    assert refusal({"state_dir": "/\udc80"}).startswith(r"--state-dir: '/\udc80' is not allowed")
    assert resolve({"state_dir": "//srv/x"}, NOWHERE).settings.state_dir == Path("/srv/x")


def test_settings_that_do_not_go_together_are_both_named() -> None:
    assert refusal({"hang_seconds": "2"}) == (
        "hang_seconds (2, command line --hang-seconds) must be more than twice heartbeat_seconds (1, default)"
    )
    assert refusal({"heartbeat_seconds": "5"}, {"BROKER_HANG_SECONDS": "10"}).startswith(
        "hang_seconds (10, environment"
    )
    assert refusal({"address_rate_burst_lines": "60"}) == (
        "address_rate_burst_lines (60, command line --address-rate-burst-lines) has no effect without a limit, "
        "and address_rate_lines_per_second (0, default) is none; set both"
    )
    assert refusal({"rate_burst_lines": "60", "rate_lines_per_second": "0"}).startswith("rate_burst_lines (60, ")
    assert resolve({"rate_lines_per_second": "0"}, NOWHERE).settings.rate_lines_per_second == 0
    assert resolve({"hang_seconds": "2.1"}, NOWHERE).settings.hang_seconds == 2.1
    assert refusal({"max_behind_bytes": "4096", "max_line_bytes": "65536"}) == (
        "max_behind_bytes (4096, command line --max-behind-bytes) must be at least "
        "max_line_bytes (65536, command line --max-line-bytes)"
    )
    assert refusal({"address_rate_burst_lines": "1000000"}).startswith("address_rate_burst_lines (1000000, command")


# The file as a whole.


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("worker", "there is no setting 'worker', the nearest is 'workers'"),
        ("max-connections", "the nearest is 'max_connections'"),
        ("state-dir", "the nearest is 'state_dir'"),
        ("zzz", "there is no setting 'zzz'; `broker config` prints those that there are"),
        ('"a\\u001b[2J"', r"there is no setting 'a\x1b[2J'"),
        ("config", "there is no setting 'config'"),
    ],
)
def test_an_unknown_key(key: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"{key} = 1")
    message = refusal({}, {}, path)
    assert message.startswith(f"{path}: ")
    assert told in message


def test_an_unknown_table(tmp_path: Path) -> None:
    assert "there is no setting 'limits'" in refusal({}, {}, written(tmp_path, "[limits]\nworkers = 1"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"lang = 'en'\nworkers = = 1\n", "line 2"),
        (b"workers = 1\nworkers = 2\n", "line 2"),
        (b"workers = 1 \x1b[2J", "line 1"),
        (b"lang = 'en'\n# \xff\n", "invalid UTF-8 at line 2"),
        (b"listen = " + b"[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_is_not_toml(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_bytes(content)
    message = refusal({}, {}, path)
    assert message.startswith(f"{path} is not TOML: ")
    assert told in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert refusal({}, {}, missing) == f"cannot read the configuration file {missing}: No such file or directory"
    assert refusal({}, {}, tmp_path).endswith("Is a directory")


# The environment as a whole.


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("BROKER_WORKER", "BROKER_WORKERS"), ("BROKER_STATEDIR", "BROKER_STATE_DIR"), ("BROKER_CONFIGS", "BROKER_CONFIG")],
)
def test_a_misspelt_variable_is_not_ignored(variable: str, meant: str) -> None:
    message = refusal({}, {variable: "x"})
    assert message == f"the environment has '{variable}', but the variable is called {meant}"


def test_variables_of_others_are_none_of_our_business() -> None:
    # What Kubernetes sets for a service that is called broker.
    others = {"BROKER_PORT": "tcp://10.0.0.1:1", "BROKER_SERVICE_HOST": "10.0.0.1", "BROKER_PORT_1_TCP_ADDR": "x"}
    assert set(resolve({}, NOWHERE | others).origins.values()) == {"default"}


# Text that comes back whole.


@given(st.text())
def test_a_toml_string_comes_back_whole_and_harmless(text: str) -> None:
    toml = toml_string(text)
    assert UNWANTED.search(toml) is None
    assert tomllib.loads(f"text = {toml}") == {"text": text}


@given(st.floats(0.1, 1_000_000))
def test_a_number_comes_back_whole(value: float) -> None:
    kind = Number(0.1, 1_000_000)
    assert kind.from_toml(tomllib.loads(f"value = {kind.to_toml(value)}")["value"], Path("/")) == value


@given(st.one_of(st.none(), st.booleans(), st.text(), st.integers(), st.floats(), st.lists(st.integers()), st.dates()))
def test_no_value_breaks_a_kind(value: object) -> None:
    for setting in SETTINGS:
        try:
            read = setting.kind.from_toml(value, Path("/"))
        except ConfigError:
            continue
        if isinstance(setting.kind, Number):
            assert math.isfinite(read)


# The help and the docs.


def test_every_flag_is_in_the_help_with_its_default() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = re.sub(r"\s+", " ", parser.format_help())
    for setting in SETTINGS:
        assert f"{setting.flag} {setting.metavar}" in text
        assert f"{setting.help}" in text
        assert f"(default: {setting.default_text})" in text


def documented() -> dict[str, tuple[str, str]]:
    """By the heading of each setting's section: the line below it, and the rest."""
    sections = re.split(r"^### ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for section in sections:
        heading, _, body = section.partition("\n")
        facts, _, rest = body.strip().partition("\n\n")
        found[heading.strip()] = (facts.replace("\n", " "), re.split(r"^## ", rest, flags=re.MULTILINE)[0].strip())
    return found


def facts(setting: Setting) -> str:
    """The line that docs/settings.md has below the heading of a setting."""
    return (
        f"`{setting.flag} {setting.metavar}` · `{setting.variable}` · default: {setting.default_text} · "
        f"{setting.kind.allowed}"
    )


def test_every_setting_is_documented_as_it_is() -> None:
    sections = documented()
    assert list(sections) == [f"`{setting.name}`" for setting in SETTINGS], "in the order of the table"
    for setting in SETTINGS:
        line, text = sections[f"`{setting.name}`"]
        assert line == facts(setting)
        assert text.endswith((".", "```")), "and explained in a sentence"


def test_the_variables_and_flags_that_the_docs_name_exist() -> None:
    text = DOCS.read_text(encoding="utf-8")
    known_variables = {setting.variable for setting in SETTINGS} | {"BROKER_CONFIG"}
    assert set(re.findall(r"\bBROKER_[A-Z_]+\b", text)) == known_variables
    known_flags = {setting.flag for setting in SETTINGS} | {"--config", "--json", "--detach"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known_flags


def test_the_examples_of_the_docs_are_accepted(tmp_path: Path) -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(examples) >= 2
    for number, example in enumerate(examples):
        resolve({}, NOWHERE, written(tmp_path, example, f"{number}.toml"))


def test_the_file_for_a_public_listener_changes_what_it_says() -> None:
    text = DOCS.read_text(encoding="utf-8")
    section = text.partition("## A public listener")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```toml\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    values: dict[str, Any] = tomllib.loads(example)
    assert values["rate_lines_per_second"] == 10
    assert values["rate_burst_lines"] == 30
    assert "address_rate_lines_per_second" in values
    assert "max_connections_per_address" in values
