"""Join the chat from this terminal.

Without --connect it finds the broker that runs here. Tab completes commands and names, the arrow keys bring back what
you typed, Ctrl-C clears the line, and a second one or Ctrl-D leaves. If the broker goes away, it is looked for, and you
are brought back under your name to your room.

With its input from a pipe or a file, each line of that is said, or is a command; at its end the client waits until the
broker has delivered everything. With its output to a pipe or a file, that gets the plain lines that the broker sends.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Mapping

from rich.console import COLOR_SYSTEMS, Console

from broker.client.conversation import Conversation
from broker.client.finding import at_url, on_state_dir
from broker.client.painter import Painter
from broker.client.piped import PipedChat
from broker.client.terminal import TerminalChat
from broker.commands.arguments import add_state_dir
from broker.phrases import LANGUAGES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Who, where and how."""
    parser.add_argument("--name", metavar="N", default="", help="your name in the chat; you are asked if it is missing")
    parser.add_argument("--room", metavar="R", default="", help="the room to enter (default: the broker's first room)")
    parser.add_argument(
        "--connect",
        metavar="URL",
        help="the broker's address: chat://HOST:PORT or chat+unix:PATH (default: the local one)",
    )
    add_state_dir(parser)
    parser.add_argument("--lang", choices=LANGUAGES, help="the language to be spoken to in (default: the broker's)")
    parser.add_argument(
        "--no-reconnect", dest="reconnect", action="store_false", help="end when the connection is lost, with status 1"
    )


def run(arguments: argparse.Namespace) -> int:
    """Chat until the person leaves, or the input is used up."""
    find = at_url(arguments.connect) if arguments.connect else on_state_dir(arguments.state_dir)
    language = arguments.lang or _locale_language(os.environ)
    terminal = Console()
    capable = terminal.is_terminal and not terminal.is_dumb_terminal
    color_system = None if terminal.no_color or terminal.color_system is None else COLOR_SYSTEMS[terminal.color_system]
    painter = Painter(color_system) if capable else None
    asks = sys.stdin is not None and sys.stdin.isatty()
    name = arguments.name or ("" if asks else _login_name())
    conversation = Conversation(name, arguments.room, language, arguments.lang)
    chat: TerminalChat | PipedChat
    if painter is not None and asks:
        chat = TerminalChat(conversation, find, arguments.reconnect, painter, _login_name())
    else:
        chat = PipedChat(conversation, find, arguments.reconnect, asks, _login_name(), painter, terminal.width)
    asyncio.run(chat.run())
    return 0


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry in the password database
        return ""


def _locale_language(environ: Mapping[str, str]) -> str:
    """The language to speak until the broker has been heard: as gettext would choose, from those that there are."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(variable):
            return "zh" if environ[variable].startswith("zh") else "en"
    return "en"
