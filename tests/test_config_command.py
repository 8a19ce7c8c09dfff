"""`broker config` as a user runs it: what it prints, that it can be read again, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from broker.operators import hashed
from broker.settings import SETTINGS

FLAGS = [
    "--state-dir", "/srv/聊天", "--listen", "chat://[::1]:7", "--listen", "chat+unix:/srv/a \"b\" \\c#.sock",
    "--workers", "3", "--nice", "workers=5", "--nice", "router=-5", "--lang", "en", "--log-level", "debug",
    "--durability", "power",
    "--max-connections", "100", "--max-connections-per-address", "20", "--name-timeout-seconds", "0.5",
    "--max-line-bytes", "1000", "--rate-lines-per-second", "10", "--rate-burst-lines", "30",
    "--address-rate-lines-per-second", "0.3", "--address-rate-burst-lines", "60", "--max-behind-bytes", "65536",
    "--max-behind-seconds", "5", "--heartbeat-seconds", "0.25", "--hang-seconds", "4", "--restart-intensity", "0",
    "--restart-period-seconds", "60", "--stop-timeout-seconds", "0", "--irc-server-name", "irc.example.org",
    "--irc-server-description", "small",
    "--irc-network-name", "Example", "--irc-password", 'a \\ "b"', "--irc-motd-file", __file__, "--irc-admin", "安",
    "--irc-operators", f"ann={hashed('sesame', b'salt')}", "--irc-ping-seconds", "30",
    "--irc-disabled-capabilities", "batch", "--listener-rates", "chat://[::1]:7=0.5/3", "--exempt-addresses", "::1",
]  # fmt: skip
"""Every flag, with another value than the default."""


def broker_config(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker", "config", *options],
        capture_output=True, text=True, timeout=30, check=False,
        env={"XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/ann", "PATH": "", **environment},
        cwd=Path(__file__).parents[1],
    )  # fmt: skip


def values(text: str) -> dict[str, object]:
    return tomllib.loads(text)


def test_without_anything_it_prints_the_defaults() -> None:
    done = broker_config()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    header, *lines = done.stdout.splitlines()
    assert header.startswith("# ")
    assert len(lines) == len(SETTINGS)
    for setting, line in zip(SETTINGS, lines, strict=True):
        assert line.startswith(f"{setting.name} = ")
        assert line.endswith("  # default")
    assert values(done.stdout)["listen"] == [
        "chat://127.0.0.1:8888",
        "irc://127.0.0.1:6667",
        "chat+unix:/run/user/1000/broker/chat.sock",
    ]


def test_each_origin_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("max_line_bytes = 1000\n[nice]\nworkers = 5\n")
    done = broker_config("--workers", "4", "--config", str(path), BROKER_LANG="en", BROKER_NICE="router=-5")
    comments = {line.split(" = ")[0]: line.rpartition("  # ")[2] for line in done.stdout.splitlines()[1:]}
    assert comments["workers"] == "command line --workers"
    assert comments["lang"] == "environment BROKER_LANG"
    assert comments["max_line_bytes"] == f"file {path}"
    assert comments["nice"] == f"worker: file {path}, router: environment BROKER_NICE"
    assert comments["state_dir"] == "default"


@pytest.mark.parametrize("options", [[], FLAGS], ids=["defaults", "every flag"])
def test_what_it_prints_can_be_read_again(options: list[str], tmp_path: Path) -> None:
    first = broker_config(*options)
    assert first.returncode == 0, first.stderr
    path = tmp_path / "broker.toml"
    path.write_text(first.stdout, encoding="utf-8")
    second = broker_config("--config", str(path), XDG_RUNTIME_DIR="/elsewhere")
    assert second.returncode == 0, second.stderr
    assert values(second.stdout) == values(first.stdout)
    assert second.stdout.count(f"# file {path}\n") == len(SETTINGS) - (0 if options else 1), "all but an empty nice"
    if options:
        assert not any(line.endswith("# default") for line in first.stdout.splitlines())


def test_json_has_the_same_values_and_origins() -> None:
    toml = broker_config(*FLAGS, "--workers", "7")
    done = broker_config(*FLAGS, "--workers", "7", "--json")
    document = json.loads(done.stdout)
    assert {name: entry["value"] for name, entry in document.items()} == values(toml.stdout)
    assert document["workers"] == {"value": 7, "origin": "command line --workers"}
    assert document["nice"] == {"value": {"worker": 5, "router": -5}, "origin": "command line --nice"}


def test_a_file_whose_name_is_not_text_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a\udc80\x1b[2J.toml"
    path.write_text("workers = 2")
    done = broker_config("--config", str(path))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert f"file {tmp_path}/a\ufffd[2J.toml" in done.stdout


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (["--workers", "65"], {}, "broker: --workers: 65 is not allowed; give a whole number from 1 to 64"),
        ([], {"BROKER_WORKERS": "x"}, "broker: BROKER_WORKERS: 'x' is not allowed; give a whole number from 1 to 64"),
        (["--listen", "chats://h:1"], {}, "broker: --listen: bad URL 'chats://h:1': there is no scheme 'chats'"),
        (["--config", "/nowhere/x"], {}, "broker: cannot read the configuration file /nowhere/x: No such file"),
        (["--worker", "1"], {}, "broker: config: unrecognized arguments: --worker 1 (did you mean --workers?)"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(options: list[str], environment: dict[str, str], told: str) -> None:
    done = broker_config(*options, **environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(told)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
