"""Every setting of the broker, in one table: its name, default, flag, variable, what it may be and what it is for.

The command line, the environment, the TOML file, the help, `broker config` and the test of `docs/settings.md` all read
this table. Runs in the process of the command; the supervisor and its children only get the finished `Settings`. Knows
nothing of what the values do: a value here is valid by itself and beside the others, and that is all.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError
from broker.irc_settings import IRC_SETTINGS, TextFile, is_exempt
from broker.messages import Role
from broker.operators import Operator
from broker.phrases import LANGUAGES
from broker.setting_kinds import (
    VARIABLE_PREFIX,
    Choice,
    Computed,
    Directory,
    NiceValues,
    Number,
    Setting,
    URLs,
    Whole,
)
from broker.settings_file import read_document, shown
from broker.state_dir import CHAT_SOCKET, CONTROL_SOCKET, default_state_dir
from broker.urls import ListenerURL, parse_listener_url

WORKERS_MAX: Final = 64
DEFAULT_TCP_URLS: Final = ("chat://127.0.0.1:8888", "irc://127.0.0.1:6667")
CONFIG_VARIABLE: Final = "BROKER_CONFIG"

_NEAR: Final = 0.8
"""How alike (difflib's ratio) a variable's name must be to one of ours to be taken for a slip of the finger."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the broker runs with. Each field is explained by its entry in SETTINGS; units are in the names."""

    state_dir: Path
    listen: tuple[ListenerURL, ...]
    workers: int
    nice: Mapping[Role, int]
    lang: str
    log_level: str
    durability: str
    max_connections: int
    max_connections_per_address: int
    name_timeout_seconds: float
    max_line_bytes: int
    rate_lines_per_second: float
    rate_burst_lines: int
    address_rate_lines_per_second: float
    address_rate_burst_lines: int
    max_behind_bytes: int
    max_behind_seconds: float
    heartbeat_seconds: float
    hang_seconds: float
    restart_intensity: int
    restart_period_seconds: float
    stop_timeout_seconds: float
    irc_server_name: str
    irc_server_description: str
    irc_network_name: str
    irc_password: str
    irc_motd_file: TextFile | None
    irc_admin: str
    irc_operators: tuple[Operator, ...]
    irc_ping_seconds: float
    irc_disabled_capabilities: tuple[str, ...]
    listener_rates: Mapping[str, tuple[float, int]]
    exempt_addresses: tuple[str, ...]

    def rate_of(self, listener: int) -> tuple[float, int]:
        """Lines a second and lines at once for sessions of the listener of that index; a rate of 0 is no limit."""
        url = str(self.listen[listener]) if 0 <= listener < len(self.listen) else ""
        return self.listener_rates.get(url, (self.rate_lines_per_second, self.rate_burst_lines))

    def is_exempt(self, address: str) -> bool:
        """Whether the limits on rates and connections do not apply to an address, as connections are counted by."""
        return is_exempt(self.exempt_addresses, address)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each came from.

    `origins` has, by the setting's name, `default`, `file PATH`, `environment VARIABLE` or `command line FLAG`, and may
    be printed as it is. Nice values are given role by role; where their origins differ, it reads `ROLE: ORIGIN, …`.
    """

    settings: Settings
    origins: Mapping[str, str]


def _default_state_dir(environ: Mapping[str, str], _earlier: Mapping[str, Any]) -> Path:
    path: Path = _STATE_DIR_KIND.from_toml(str(default_state_dir(environ)), Path())
    return path


def _default_listen(_environ: Mapping[str, str], earlier: Mapping[str, Any]) -> tuple[ListenerURL, ...]:
    return tuple(map(parse_listener_url, (*DEFAULT_TCP_URLS, f"chat+unix:{earlier['state_dir'] / CHAT_SOCKET}")))


def _default_workers(_environ: Mapping[str, str], _earlier: Mapping[str, Any]) -> int:
    return max(1, min(len(os.sched_getaffinity(0)) - 1, WORKERS_MAX))  # the router has a CPU to itself


_STATE_DIR_KIND: Final = Directory(longest_name=max(len(CHAT_SOCKET), len(CONTROL_SOCKET)))
_LIMITS: Final = "limits"
_GENERAL: Final = "settings"
_WATCHING: Final = "keeping it alive"

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        _GENERAL, "state_dir", _STATE_DIR_KIND,
        Computed("$XDG_RUNTIME_DIR/broker, else ~/.local/state/broker", _default_state_dir), "DIR",
        "where the broker keeps its sockets and files",
    ),
    Setting(
        _GENERAL, "listen", URLs(),
        Computed(f"{', '.join(DEFAULT_TCP_URLS)} and chat+unix:{CHAT_SOCKET} in the state directory", _default_listen),
        "URL",
        "where clients connect; port 0 takes any free one", repeatable=True,
    ),
    Setting(
        _GENERAL, "workers", Whole(1, WORKERS_MAX),
        Computed("one less than there are usable CPUs, at least 1", _default_workers),
        "N", "processes that read from and write to the clients",
    ),
    Setting(
        _GENERAL, "nice", NiceValues(), Computed("that of `broker start` itself", lambda _environ, _earlier: {}),
        "ROLE=N", "priority of a role's processes, -20 most favoured, 19 least", repeatable=True,
    ),
    Setting(
        _GENERAL, "lang", Choice(LANGUAGES), "zh", "|".join(LANGUAGES),
        "language that the chat begins with; everybody may change their own with /lang",
    ),
    Setting(
        _GENERAL, "log_level", Choice(("debug", "info", "warning", "error")), "info", "LEVEL",
        "the least important messages that are logged: debug, info, warning or error",
    ),
    Setting(
        _GENERAL, "durability", Choice(("process", "power", "none")), "process", "|".join(("process", "power", "none")),
        "what the chat survives: the end of any child, a power failure too, or nothing",
    ),
    Setting(
        _LIMITS, "max_connections", Whole(1, 1_000_000), 16384, "N",
        "connections at once",
    ),
    Setting(
        _LIMITS, "max_connections_per_address", Whole(1, 1_000_000), 16384, "N",
        "connections at once from one address, or of one user of the local socket; on a public listener try 20",
    ),
    Setting(
        _LIMITS, "name_timeout_seconds", Number(0.1, 86400), 60.0, "SECONDS",
        "how long a client may take to give its name",
    ),
    Setting(
        _LIMITS, "max_line_bytes", Whole(512, 65536), 4096, "BYTES",
        "longest line that is accepted, without its end",
    ),
    Setting(
        _LIMITS, "rate_lines_per_second", Number(0.1, 1_000_000, zero="no limit"), 5000.0, "RATE",
        "lines that one session may send in the long run: more are not read until their time comes; "
        "on a public listener try 10",
    ),
    Setting(
        _LIMITS, "rate_burst_lines", Whole(1, 1_000_000), 10000, "LINES",
        "lines that one session may send at once; on a public listener try 30",
    ),
    Setting(
        _LIMITS, "address_rate_lines_per_second", Number(0.1, 1_000_000, zero="no limit"), 0.0, "RATE",
        "as --rate-lines-per-second, for all sessions of one address together",
    ),
    Setting(
        _LIMITS, "address_rate_burst_lines", Whole(1, 1_000_000), 10000, "LINES",
        "as --rate-burst-lines, for all sessions of one address together",
    ),
    Setting(
        _LIMITS, "max_behind_bytes", Whole(4096, 1 << 30), 1 << 20, "BYTES",
        "a client that leaves more than this unread for 5 seconds is closed",
    ),
    Setting(
        _LIMITS, "max_behind_seconds", Number(0.1, 86400), 30.0, "SECONDS",
        "a client that has read nothing of what waits for it for so long is closed",
    ),
    Setting(
        _WATCHING, "heartbeat_seconds", Number(0.05, 60), 1.0, "SECONDS",
        "how often each process reports that it is well",
    ),
    Setting(
        _WATCHING, "hang_seconds", Number(0.2, 3600), 10.0, "SECONDS",
        "a process silent for so long is looked into, and replaced if it is stopped or stuck",
    ),
    Setting(
        _WATCHING, "restart_intensity", Whole(0, 1000), 12, "N",
        "the broker gives up when one process has to be replaced more often than this within the period",
    ),
    Setting(
        _WATCHING, "restart_period_seconds", Number(0.1, 86400), 10.0, "SECONDS",
        "the period in which replacements are counted",
    ),
    Setting(
        _WATCHING, "stop_timeout_seconds", Number(0, 3600), 10.0, "SECONDS",
        "how long clients and processes may take to end when the broker stops",
    ),
    *IRC_SETTINGS,
)  # fmt: skip
"""Every setting; the order is that of the help and of `broker config`."""

_BURSTS: Final = {
    "rate_burst_lines": "rate_lines_per_second",
    "address_rate_burst_lines": "address_rate_lines_per_second",
}
"""What is nothing without what."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and the flag of every setting; what they were given stays text until it is resolved."""
    general = parser.add_argument_group(
        _GENERAL,
        "Each of these and of those below is also an environment variable, as BROKER_MAX_LINE_BYTES\n"
        "for --max-line-bytes, and a key of the file, as max_line_bytes. The flag counts more than\n"
        "the variable, and the variable more than the file.",
    )
    general.add_argument(
        "--config", metavar="FILE", help=f"TOML file with settings, see docs/settings.md (default: ${CONFIG_VARIABLE})"
    )
    groups = {_GENERAL: general}
    for setting in SETTINGS:
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        groups[setting.group].add_argument(
            setting.flag, metavar=setting.metavar, action="append" if setting.repeatable else "store",
            help=f"{setting.help}{'; repeatable' if setting.repeatable else ''} (default: {setting.default_text})",
        )  # fmt: skip


def from_arguments(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Resolved:
    """Resolve what a parser with `add_arguments` has parsed; ConfigError as `resolve`."""
    command_line = {setting.name: getattr(arguments, setting.name, None) for setting in SETTINGS}
    return resolve(command_line, environ, config_file(arguments, environ))


def config_file(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Path | None:
    """The file that `--config` or $BROKER_CONFIG names; None if neither does."""
    if arguments.config is not None:
        if not arguments.config:
            raise ConfigError("--config: '' is not the name of a file")
        return _absolute(arguments.config)
    return _absolute(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None


def resolve(
    command_line: Mapping[str, str | list[str] | None], environ: Mapping[str, str], config_path: Path | None = None
) -> Resolved:
    """The effective settings: command line over environment over file over default.

    `command_line` has the text of each flag by the setting's name, a list of them if it is repeatable, None if it was
    not given. `config_path` is absolute; relative paths in the file are taken from its directory, others from the
    current one. An empty variable counts as not set. Whatever was given is checked, also if something else overrides
    it. ConfigError names what is wrong, where, and what is allowed.
    """
    document = {} if config_path is None else read_document(config_path, [setting.name for setting in SETTINGS])
    _check_variables(environ)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        layers = list(_layers(setting, command_line, environ, document, config_path))
        if not layers:
            with _named(f"the default of {setting.name}"):
                layers = [("default", setting.default_value(environ, values))]
        origins[setting.name], values[setting.name] = (
            _merged(layers) if isinstance(setting.kind, NiceValues) else layers[-1]
        )
    settings = Settings(**values)
    _check_together(settings, origins)
    return Resolved(settings, origins)


def _layers(
    setting: Setting,
    command_line: Mapping[str, str | list[str] | None],
    environ: Mapping[str, str],
    document: Mapping[str, object],
    config_path: Path | None,
) -> Iterator[tuple[str, Any]]:
    """Origin and value wherever this setting is given, weakest first."""
    if config_path is not None and setting.name in document:
        with _named(f"{shown(config_path)}: {setting.name}"):
            value = setting.kind.from_toml(document[setting.name], config_path.parent)
        yield f"file {shown(config_path)}", value
    variable = environ.get(setting.variable)
    if variable:
        with _named(setting.variable):
            value = setting.kind.from_strings(variable.split() if setting.repeatable else [variable], _absolute("."))
        yield f"environment {setting.variable}", value
    given = command_line.get(setting.name)
    if given is not None:
        with _named(setting.flag):
            value = setting.kind.from_strings([given] if isinstance(given, str) else given, _absolute("."))
        yield f"command line {setting.flag}", value


def _merged(layers: Iterable[tuple[str, Mapping[str, int]]]) -> tuple[str, dict[str, int]]:
    """Each role's value from the strongest layer that has the role."""
    values: dict[str, int] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    if len(set(origins.values())) > 1:
        return ", ".join(f"{role}: {origin}" for role, origin in origins.items()), values
    return next(iter(origins.values()), "default"), values


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say where the value came from that is found wrong inside."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _absolute(name: str) -> Path:
    try:
        return Path(name).expanduser().absolute()
    except FileNotFoundError:
        raise ConfigError("the current directory is gone; change to another one") from None
    except RuntimeError:
        raise ConfigError(f"{name!r} is in a home directory that cannot be found; write it out") from None


def _check_variables(environ: Mapping[str, str]) -> None:
    """A variable that looks like one of ours misspelt would be ignored without a word."""
    known = [CONFIG_VARIABLE, *(setting.variable for setting in SETTINGS)]
    # Compared without what all have in common, which would make them all look alike.
    endings = [variable.removeprefix(VARIABLE_PREFIX) for variable in known]
    for name in environ:
        if name.startswith(VARIABLE_PREFIX) and name not in known:
            matches = get_close_matches(name.removeprefix(VARIABLE_PREFIX), endings, n=1, cutoff=_NEAR)
            if matches:
                raise ConfigError(
                    f"the environment has {name!r}, but the variable is called {VARIABLE_PREFIX}{matches[0]}"
                )


def _check_together(settings: Settings, origins: Mapping[str, str]) -> None:
    """What two settings must be to each other."""

    def told(name: str) -> str:
        value = getattr(settings, name)
        return f"{name} ({f'{value:g}' if isinstance(value, float) else value}, {origins[name]})"

    if settings.hang_seconds <= 2 * settings.heartbeat_seconds:
        raise ConfigError(f"{told('hang_seconds')} must be more than twice {told('heartbeat_seconds')}")
    if settings.max_behind_bytes < settings.max_line_bytes:
        raise ConfigError(f"{told('max_behind_bytes')} must be at least {told('max_line_bytes')}")
    listeners = [str(url) for url in settings.listen]
    for url in settings.listener_rates:
        if url not in listeners:
            raise ConfigError(f"{told('listener_rates')} speaks of {url}, which is none of the listeners")
    for burst, rate in _BURSTS.items():
        default = next(setting.default for setting in SETTINGS if setting.name == burst)
        if getattr(settings, rate) == 0 and getattr(settings, burst) != default:
            raise ConfigError(f"{told(burst)} has no effect without a limit, and {told(rate)} is none; set both")
