"""What each command of the control socket does: asks the supervisor, or tells it; runs inside its process.

One handler a command, in the table at the end; `docs/control-protocol.md` is their specification.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from broker import __version__
from broker.child import Child
from broker.control import PROTOCOL_VERSION, Handler, Request
from broker.errors import ControlError
from broker.settings import WORKERS_MAX
from broker.supervisor import Supervisor
from broker.text import clean

_REASON_LENGTH = 400
"""Of a kick: it is one line on somebody's screen."""


def handlers(supervisor: Supervisor) -> dict[str, Handler]:
    """The table of commands for one supervisor."""
    table = {
        "status": _status,
        "processes": _processes,
        "events": _events,
        "nice": _nice,
        "scale": _scale,
        "reload": _reload,
        "kick": _kick,
        "stop": _stop,
    }
    return {command: partial(handler, supervisor) for command, handler in table.items()}


def status(supervisor: Supervisor) -> dict[str, Any]:
    """The broker as a whole."""
    return {
        "pid": os.getpid(),
        "version": __version__,
        "state": supervisor.state,
        "started_at": supervisor.started_at,
        "uptime_seconds": time.time() - supervisor.started_at,
        "listeners": [str(listener.url) for listener in supervisor.listeners],
        "sessions": len(supervisor.custody),
        "rooms": supervisor.rooms(),
        "messages_in": supervisor.messages("messages_in"),
        "messages_out": supervisor.messages("messages_out"),
        "workers": supervisor.workforce.wanted,
        "durability": supervisor.settings.durability,
        "journal": supervisor.of_router("journal"),
        "retained_bytes": supervisor.of_router("retained_bytes"),
        "state_dir": str(supervisor.settings.state_dir),
        "hang_seconds": supervisor.settings.hang_seconds,
        "restart_intensity": supervisor.settings.restart_intensity,
        "restart_period_seconds": supervisor.settings.restart_period_seconds,
    }


def _status(supervisor: Supervisor, request: Request) -> None:
    request.reply(status(supervisor))


def _processes(supervisor: Supervisor, request: Request) -> None:
    own = {
        "name": "supervisor",
        "role": "supervisor",
        "pid": os.getpid(),
        "state": "stopping" if supervisor.state == "stopping" else "ready",
        "incarnation": 1,
        "restarts": 0,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "started_at": supervisor.started_at,
        "beat_age_seconds": None,
        "counters": {
            "sessions": len(supervisor.custody),
            "messages_in": supervisor.messages("messages_in"),
            "messages_out": supervisor.messages("messages_out"),
        },
    }
    children = [_process(child) for child in supervisor.children.values()]
    request.reply({"status": status(supervisor), "processes": [own, *children]})


def _process(child: Child) -> dict[str, Any]:
    return {
        "name": child.name,
        "role": child.spec.role,
        "pid": child.pid,
        "state": child.state.value,
        "incarnation": child.incarnation,
        "restarts": child.restarts,
        "nice": child.nice,
        "started_at": child.started_at if child.alive else None,
        "beat_age_seconds": None if child.last_beat is None else time.monotonic() - child.last_beat,
        "counters": {key: child.counters.get(key, 0) for key in ("sessions", "messages_in", "messages_out")},
    }


def _events(supervisor: Supervisor, request: Request) -> None:
    since = request.argument("since", int, 0)
    follow = request.argument("follow", bool, False)
    request.reply({"events": supervisor.events.since(since)})
    if not follow:
        return
    connection, identifier = request.connection, request.identifier

    def send(event: dict[str, Any]) -> None:
        connection.write({"version": PROTOCOL_VERSION, "id": identifier, "event": event})

    connection.follow(partial(supervisor.events.listeners.remove, send))
    supervisor.events.listeners.append(send)


def _nice(supervisor: Supervisor, request: Request) -> None:
    changes = request.argument("changes", list)
    known = {"supervisor", *supervisor.children}
    for change in changes:
        if not isinstance(change, dict) or not all(_is_nice(change.get(key)) for key in ("old", "new")):
            raise ControlError("each change needs a name, and old and new from -20 to 19", "bad_request")
        name = change.get("name")
        if not isinstance(name, str) or name not in known:
            raise ControlError(f"there is no process of that name; there are {', '.join(sorted(known))}", "not_found")
    by = f"uid {request.connection.uid} (PID {request.connection.pid})"
    for change in changes:
        supervisor.remember_nice(change["name"], change["old"], change["new"], by)
    request.reply({})


def _is_nice(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -20 <= value <= 19


def _scale(supervisor: Supervisor, request: Request) -> None:
    workers = request.argument("workers", int)
    if not 1 <= workers <= WORKERS_MAX:
        raise ControlError(f"the number of workers must be from 1 to {WORKERS_MAX}, not {workers}", "bad_request")
    if supervisor.state != "running":
        raise ControlError(f"the broker is {supervisor.state}")
    request.reply({"old": supervisor.workforce.scale(workers), "new": workers})


def _reload(supervisor: Supervisor, request: Request) -> None:
    if supervisor.state != "running":
        raise ControlError(f"the broker is {supervisor.state}")

    def answer(wrong: str | None, needs_restart: list[str]) -> None:
        request.reply(
            {"needs_restart": needs_restart} if wrong is None else ControlError(f"nothing was reloaded: {wrong}")
        )

    supervisor.renewal.begin(answer)


def _kick(supervisor: Supervisor, request: Request) -> None:
    name = request.argument("name", str)
    reason = clean(request.argument("reason", str, ""))
    if len(reason) > _REASON_LENGTH:
        raise ControlError(f"the reason must have at most {_REASON_LENGTH} characters", "bad_request")

    def answer(found: str | None) -> None:
        if found is None:
            request.reply(ControlError("there is nobody of that name", "not_found"))
            return
        supervisor.events.record("info", "kicked", f"{found} was kicked by uid {request.connection.uid}: {reason}")
        request.reply({"name": found})

    supervisor.kicks.begin(name, reason, answer)


def _stop(supervisor: Supervisor, request: Request) -> None:
    timeout = request.argument("timeout_seconds", (int, float), supervisor.settings.stop_timeout_seconds)
    if not 0 <= timeout <= 3600:
        raise ControlError("timeout_seconds must be from 0 to 3600", "bad_request")
    request.reply({"pid": os.getpid()})
    supervisor.stop(f"asked by uid {request.connection.uid} (PID {request.connection.pid})", float(timeout))
