"""Start the broker: in the foreground, or with --detach in the background."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import logging
import logging.handlers
import os
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from broker import settings as settings_module
from broker.code import Code
from broker.control import ControlServer
from broker.control_commands import handlers
from broker.errors import BrokerError, ConfigError, StartError
from broker.event_log import EventLog
from broker.journal import Journal
from broker.linux import lowest_nice_allowed, raise_descriptor_limit
from broker.listeners import Listener, open_all
from broker.settings import WORKERS_MAX, Resolved, Settings
from broker.state_dir import CONTROL_SOCKET, EVENT_FILE, JOURNAL_DIR, LOG_FILE, PidLock, make_state_dir
from broker.supervisor import Supervisor
from broker.terminal_log import TerminalLogHandler, write_if_possible
from workers.entries import ENTRIES, birth_with

_DESCRIPTORS_BESIDE_CLIENTS: Final = 4 * (WORKERS_MAX + 2) + 64 + 128
"""The supervisor's own: four a child (pipe, pidfd, reports, stack), control connections, and sockets on their way."""
_LOG_BYTES: Final = 4 * 1024 * 1024

Announce = Callable[[str], None]
Load = Callable[[tuple[Listener, ...]], Code]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting is a flag; see `broker.settings`."""
    settings_module.add_arguments(parser)
    parser.add_argument(
        "--discard-journal", action="store_true",
        help="start also if the journal that a broker has left behind is damaged, and remove it",
    )  # fmt: skip
    parser.add_argument(
        "--detach", action="store_true",
        help="go to the background; returns once clients can connect, or with the reason why they cannot",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Start and serve; with --detach, start and return."""
    resolved = settings_module.from_arguments(arguments, os.environ)
    if arguments.detach:
        return _detach(resolved, partial(_load_anew, arguments), arguments.discard_journal)
    handler = TerminalLogHandler(sys.stderr.fileno())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    return serve(resolved, handler, _print, partial(_load_anew, arguments), arguments.discard_journal)


def _load_anew(arguments: argparse.Namespace, listeners: tuple[Listener, ...]) -> Code:
    """Code and settings of today, for a reload: to be called when nothing of ours is imported any more."""
    resolved = importlib.import_module("broker.settings").from_arguments(arguments, os.environ)
    settings = _within_limits(resolved, logging.getLogger("broker"))
    entries = importlib.import_module("workers.entries")
    entries.rehearse(settings, listeners)
    version = importlib.import_module("broker.messages").VERSION
    return Code(settings, entries.ENTRIES, entries.birth_with(settings), version)


def _print(banner: str) -> None:
    sys.stdout.flush()
    write_if_possible(sys.stdout.fileno(), banner + "\n")  # `broker start | head -1` is no reason to stop, or to wait


def serve(
    resolved: Resolved, log_handler: logging.Handler, announce: Announce, load: Load, discard_journal: bool
) -> int:
    """Be the supervisor until the broker stops; BrokerError if it cannot start. `load` is for a reload."""
    logger = logging.getLogger("broker")
    logger.setLevel(resolved.settings.log_level.upper())
    logger.handlers = [log_handler]
    logger.propagate = False
    settings = _within_limits(resolved, logger)
    make_state_dir(settings.state_dir)
    lock = PidLock(settings.state_dir)
    try:
        _clear_journal(settings.state_dir / JOURNAL_DIR, discard_journal, logger)
        listeners = open_all(settings.listen)
        try:
            supervisor = Supervisor(
                Code(settings, ENTRIES, birth_with(settings)), listeners, EventLog(settings.state_dir / EVENT_FILE),
                lambda: announce(_banner(resolved, supervisor)), partial(load, tuple(listeners)),
            )  # fmt: skip
            control = ControlServer(supervisor.loop, settings.state_dir / CONTROL_SOCKET, handlers(supervisor))
            try:
                status = supervisor.run()
            finally:
                control.close()
                if not supervisor.journal_damaged:
                    Journal(settings.state_dir / JOURNAL_DIR, "process", bytes(16)).discard()
        finally:
            for listener in listeners:
                listener.close()
    finally:
        lock.release()
    if supervisor.failure:
        raise StartError(f"the broker has stopped: {supervisor.failure}; `broker events` tells what happened")
    return status


def _clear_journal(directory: Path, discard: bool, logger: logging.Logger) -> None:
    """A broker that was killed has left its journal behind, and its clients have lost their connections: look whether
    it is sound, as the disk may not be, and begin a new one. JournalDamaged if it is not, unless it may be discarded.
    """
    journal = Journal(directory, "process", bytes(16))
    if not discard:
        for warning in journal.recover().warnings:
            logger.warning("%s", warning)
    journal.discard()


def _within_limits(resolved: Resolved, logger: logging.Logger) -> Settings:
    """What the kernel will not allow is said now, not when the ten-thousandth client comes.

    ConfigError for what was asked for; a default that is too much for this machine is lowered, with a warning.
    """
    settings = resolved.settings
    limit = raise_descriptor_limit()
    wanted = settings.max_connections + _DESCRIPTORS_BESIDE_CLIENTS
    most = max(0, limit - _DESCRIPTORS_BESIDE_CLIENTS)
    if limit < wanted and most and resolved.origins["max_connections"] == "default":
        logger.warning("at most %d connections: the hard limit on open descriptors is %d", most, limit)
        settings = dataclasses.replace(settings, max_connections=most)
    elif limit < wanted:
        raise ConfigError(
            f"max_connections {settings.max_connections} needs {wanted} open descriptors, but the hard limit is "
            f"{limit}; raise it (ulimit -Hn) or set --max-connections to at most {most}"
        )
    lowest = lowest_nice_allowed()
    for role, nice in settings.nice.items():
        if nice < lowest:
            raise ConfigError(
                f"no permission for nice {nice} of {role}: without CAP_SYS_NICE the lowest allowed here is {lowest}"
            )
    return settings


def _banner(resolved: Resolved, supervisor: Supervisor) -> str:
    """What to do next, with commands that can be copied, into another terminal too."""
    here = ""
    if resolved.origins["state_dir"] != "default":
        here = f" --state-dir {shlex.quote(str(resolved.settings.state_dir))}"
    lines = [f"The broker is running, PID {os.getpid()}. Talk with any of:"]
    for listener in supervisor.listeners:
        url = listener.url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(url.host), url.host)
        if url.protocol == "irc":
            lines.append(f"  irssi -c {host} -p {url.port}" if url.path is None else f"  an IRC client on {url.path}")
        elif url.path is not None:
            lines.append(f"  nc -U {shlex.quote(url.path)}")
        else:
            lines.append(f"  nc {host} {url.port}")
    program = _program()
    lines += [
        f"  {program} chat{here}",
        f"Watch its processes: {program} top{here}",
        f"Stop it:             {'Ctrl-C, or ' if sys.stdout.isatty() else ''}{program} stop{here}",
    ]
    return "\n".join(lines)


def _program() -> str:
    """How this program was called, if its folder is not on PATH."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{Path(sys.executable).name} -m broker"
    directories = os.environ.get("PATH", "").split(os.pathsep)
    if str(called.parent.absolute()) in directories:
        return called.name
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(called.absolute())


def _detach(resolved: Resolved, load: Load, discard_journal: bool) -> int:
    """Serve in a process of its own session, and wait for it to say that clients can connect, or why not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as answers:
            text = answers.read()
        os.waitpid(pid, 0)
        if not text:
            raise StartError(f"the broker ended before it was ready; see {resolved.settings.state_dir / LOG_FILE}")
        answer = json.loads(text)
        if "error" in answer:
            error = BrokerError(answer["error"])
            error.exit_status = answer["exit_status"]
            raise error
        print(answer["banner"])
        return 0
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os._exit(_serve_detached(resolved, writer, load, discard_journal))


def _serve_detached(resolved: Resolved, writer: int, load: Load, discard_journal: bool) -> int:
    answers = os.fdopen(writer, "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)

    def answer(**content: object) -> None:
        if not answers.closed:
            answers.write(json.dumps(content))
            answers.close()

    try:
        make_state_dir(resolved.settings.state_dir)
        handler = logging.handlers.RotatingFileHandler(
            resolved.settings.state_dir / LOG_FILE, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        log = handler.stream
        assert log is not None  # it is open from the beginning
        # Before any child is forked, or it would hold on to the terminal, or to the pipe of who started us.
        for fd, target in ((0, null), (1, null), (2, log.fileno())):
            os.dup2(target, fd)
        return serve(resolved, handler, lambda banner: answer(banner=banner), load, discard_journal)
    except BrokerError as error:
        answer(error=str(error), exit_status=error.exit_status)
        return error.exit_status
    except OSError as error:
        answer(error=f"cannot write the log {error.filename}: {error.strerror}", exit_status=StartError.exit_status)
        return StartError.exit_status
