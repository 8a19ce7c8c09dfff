"""What happened to the processes, and why: started, died, restarted, hung, reniced."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from broker.commands.arguments import add_state_dir
from broker.control_client import ControlClient
from broker.errors import NotRunningError
from broker.state_dir import EVENT_FILE
from broker.text import clean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--follow`, `--json` and the state directory."""
    add_state_dir(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on with new events as they happen")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as in docs/control-protocol.md")


def run(arguments: argparse.Namespace) -> int:
    """Print the events; of a broker that is down, those that it left in its file."""
    try:
        client = ControlClient(arguments.state_dir)
    except NotRunningError:
        events = _left_behind(arguments.state_dir / EVENT_FILE)
        if arguments.follow or not events:
            raise
        _print(events, arguments.json)
        return 0
    with client:
        if arguments.follow:
            _print(client.follow(), arguments.json)
        else:
            _print(client.request("events")["events"], arguments.json)
    return 0


def _print(events: Iterable[dict[str, Any]], as_json: bool) -> None:
    for event in events:
        print(json.dumps(event, ensure_ascii=False) if as_json else _line(event), flush=True)


def _line(event: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["at"]))
    line = f"{at} {event['level']:<7} {event['kind']:<10} {event['text']}"
    stack = event.get("stack") or event.get("last_words")
    if stack:
        line += "".join(f"\n    {clean(text)}" for text in stack.strip().splitlines())
    return line


def _left_behind(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]
