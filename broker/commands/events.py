"""What happened to the processes, and why: started, died, restarted, hung, reniced."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from typing import Any

from broker.commands.arguments import add_state_dir
from broker.control_client import ControlClient
from broker.errors import NotRunningError
from broker.text import clean
from monitor.left_behind import all_events


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--follow`, `--json` and the state directory."""
    add_state_dir(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on with new events as they happen")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as in docs/control-protocol.md")


def run(arguments: argparse.Namespace) -> int:
    """Print the events; of a broker that is down, those that it left in its file.

    NotRunningError if there are none, or if the broker that was followed ends without having said so.
    """
    try:
        client = ControlClient(arguments.state_dir)
    except NotRunningError:
        events = all_events(arguments.state_dir)
        if arguments.follow or not events:
            raise
        _print(events, arguments.json)
        return 0
    with client:
        if arguments.follow:
            last_kind = _print(client.follow(), arguments.json)
            if last_kind != "stopped":
                raise NotRunningError("the broker has ended")
        else:
            _print(client.request("events")["events"], arguments.json)
    return 0


def _print(events: Iterable[dict[str, Any]], as_json: bool) -> str | None:
    """Print each event as it comes; returns the kind of the last one."""
    kind = None
    for event in events:
        print(json.dumps(event, ensure_ascii=False) if as_json else _line(event), flush=True)
        kind = event["kind"]
    return kind


def _line(event: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["at"]))
    line = f"{at} {clean(event['level']):<7} {clean(event['kind']):<10} {clean(event['text'])}"
    stack = event.get("stack") or event.get("last_words")
    if isinstance(stack, str):
        line += "".join(f"\n    {clean(text)}" for text in stack.strip().splitlines())
    return line
