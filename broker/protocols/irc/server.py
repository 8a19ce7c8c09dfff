"""What IRC clients may ask of the server itself, and how its operators command it. Runs in the router; pure.

RFC 2812, 3.4 (queries), 3.1.4 (OPER), 3.7.1 (KILL), 4.2 (REHASH), 4.7 (WALLOPS). There is one server, whatever
processes it is made of. What takes time or looks at the world is requested and answered later (`Chat.ask`): the check
of a password, the table of processes, the configuration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from broker.masks import is_about, matches, whole_mask
from broker.protocols.irc import numerics as n
from broker.protocols.irc.help import HELP, INDEX
from broker.protocols.irc.limits import KICK_BYTES, tokens
from broker.protocols.irc.message import NO_MESSAGE, NO_TAGS, Message, shortened
from broker.protocols.irc.render import prefix
from broker.protocols.irc.request import Request, echo, send_line

if TYPE_CHECKING:
    from broker.chat import Chat
    from broker.sessions import Session

TOKENS_PER_LINE: Final = 13
"""Of 005 (modern.ircdocs.horse, RPL_ISUPPORT: "up to 13")."""
FAILURES_OF_OPER: Final = 5
"""Wrong passwords before the connection is closed: each costs the machine some work."""


def is_here(request: Request, index: int = 0) -> bool:
    """Whether a query is for this server; says so if not. A nick stands for its server (RFC 2812, 3.4)."""
    target = request.parameter(index)
    name = request.server.lower()
    if not target or target.lower() == name or request.chat.find_person(target) is not None:
        return True
    if "*" in target and matches(target.lower(), name):
        return True
    request.numeric(n.ERR_NOSUCHSERVER, echo(target))
    return False


def lusers(request: Request) -> None:
    """LUSERS (RFC 2812, 3.4.2)."""
    chat = request.chat
    people = chat.people_count
    invisible = len(chat.invisible)
    request.numeric(
        n.RPL_LUSERCLIENT, text=f"There are {people - invisible} users and {invisible} invisible on 1 servers"
    )
    request.numeric(n.RPL_LUSEROP, str(len(chat.operators)))
    request.numeric(n.RPL_LUSERUNKNOWN, str(chat.session_count - people))
    request.numeric(n.RPL_LUSERCHANNELS, str(chat.occupied_room_count))
    request.numeric(n.RPL_LUSERME, text=f"I have {people} clients and 0 servers")
    most = chat.most_people
    request.numeric(n.RPL_LOCALUSERS, str(people), str(most), text=f"Current local users {people}, max {most}")
    request.numeric(n.RPL_GLOBALUSERS, str(people), str(most), text=f"Current global users {people}, max {most}")


def motd(request: Request) -> None:
    """MOTD [server] (RFC 2812, 3.4.1)."""
    if request.command == "MOTD" and not is_here(request):
        return
    if not request.config.motd:
        request.numeric(n.ERR_NOMOTD)
        return
    request.numeric(n.RPL_MOTDSTART, text=f"- {request.server} Message of the day - ")
    for line in request.config.motd:
        request.numeric(n.RPL_MOTD, text=f"- {line}")
    request.numeric(n.RPL_ENDOFMOTD)


def version(request: Request) -> None:
    """VERSION [server] (RFC 2812, 3.4.3)."""
    if is_here(request):
        request.numeric(n.RPL_VERSION, f"broker-{request.config.version}.", request.server, text="a group-chat broker")
        isupport(request)


def isupport(request: Request) -> None:
    """005 (modern.ircdocs.horse, RPL_ISUPPORT)."""
    words = tokens(request.config)
    for start in range(0, len(words), TOKENS_PER_LINE):
        request.numeric(n.RPL_ISUPPORT, " ".join(words[start : start + TOKENS_PER_LINE]))


def time(request: Request) -> None:
    """TIME [server] (RFC 2812, 3.4.6)."""
    if is_here(request):
        now = int(request.chat.now)
        words = datetime.fromtimestamp(now, UTC).strftime("%A %B %-d %Y -- %H:%M:%S UTC")
        request.numeric(n.RPL_TIME, request.server, str(now), "0", text=words)


def info(request: Request) -> None:
    """INFO [server] (RFC 2812, 3.4.10)."""
    if is_here(request):
        request.numeric(n.RPL_INFO, text=f"broker {request.config.version}: a group chat made of processes")
        request.numeric(
            n.RPL_INFO, text="IRC channels are its rooms; nc, telnet and `broker chat` reach the same ones."
        )
        request.numeric(n.RPL_ENDOFINFO)


def admin(request: Request) -> None:
    """ADMIN [server] (RFC 2812, 3.4.9)."""
    if not is_here(request):
        return
    if not request.config.admin:
        request.numeric(n.ERR_NOADMININFO, request.server)
        return
    request.numeric(n.RPL_ADMINME, request.server)
    request.numeric(n.RPL_ADMINLOC1, text=request.config.network_name)
    request.numeric(n.RPL_ADMINLOC2, text=request.server)
    request.numeric(n.RPL_ADMINEMAIL, text=request.config.admin)


def links(request: Request) -> None:
    """LINKS [[server] mask] (RFC 2812, 3.4.5; modern.ircdocs.horse, LINKS): there is only this one."""
    mask = request.parameter(len(request.parameters) - 1) if request.parameters else "*"
    if len(request.parameters) > 1 and not is_here(request):
        return
    if matches(mask.lower(), request.server.lower()):
        request.numeric(n.RPL_LINKS, request.server, request.server, text=f"0 {request.config.server_description}")
    request.numeric(n.RPL_ENDOFLINKS, "*")


def stats(request: Request) -> None:
    """STATS [query [server]] (RFC 2812, 3.4.4): u, how long it runs; o, its operators; m, what it has done."""
    query = request.parameter(0)[:1] or "*"
    if not is_here(request, 1):
        return
    if query == "u":
        seconds = max(0, int(request.chat.now - request.chat.began_at))
        days, rest = divmod(seconds, 86400)
        up = f"Server Up {days} days {rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
        request.numeric(n.RPL_STATSUPTIME, text=up)
    elif query == "o" and request.session.operator:
        for operator in request.config.operators:
            request.numeric(n.RPL_STATSOLINE, "O", " ".join(operator.masks) or "*", "*", operator.name)
    elif query == "m":
        chat = request.chat
        request.numeric(n.RPL_STATSCOMMANDS, "lines", str(chat.messages_in), "deliveries", str(chat.messages_out))
    request.numeric(n.RPL_ENDOFSTATS, echo(query))


def help_(request: Request) -> None:
    """HELP, HELPOP [subject] (modern.ircdocs.horse, HELP)."""
    from broker.protocols.irc import COMMANDS

    subject = request.parameter(0).upper()
    shown = echo(request.parameter(0))
    text = HELP.get(subject) if subject else INDEX
    if text is None and subject in COMMANDS:
        usage = (COMMANDS[subject].handler.__doc__ or subject).partition("\n")[0]
        text = (f"** {subject} **", "", usage)
    if text is None:
        request.numeric(n.ERR_HELPNOTFOUND, shown)
        return
    first, *others = text
    request.numeric(n.RPL_HELPSTART, shown, text=first)
    for line in others[:-1]:
        request.numeric(n.RPL_HELPTXT, shown, text=line)
    request.numeric(n.RPL_ENDOFHELP, shown, text=others[-1])


# Operators of the server.


def oper(request: Request) -> None:
    """OPER <name> <password> (RFC 2812, 3.1.4). The password is checked elsewhere, as that takes long on purpose."""
    name, password = request.parameters[:2]
    found = [each for each in request.config.operators if each.name == name]
    if not found:
        _refuse_oper(request)
        return
    operator = found[0]
    if operator.masks and not any(is_about(whole_mask(mask), request.session) for mask in operator.masks):
        request.numeric(n.ERR_NOOPERHOST)
        return
    # The answer comes later: until then nothing, not even an ACK, says that the command is done.
    purpose = ("oper", operator.name, request.label)
    request.label = ""
    request.chat.ask(request.session, purpose, "verify", operator.password_hash, password)


def _refuse_oper(request: Request) -> None:
    request.state.failures += 1
    request.numeric(n.ERR_PASSWDMISMATCH)
    if request.state.failures >= FAILURES_OF_OPER:
        request.end("Too many wrong passwords")


def answered(chat: Chat, session: Session, purpose: tuple[Any, ...], answer: Any) -> None:
    """What was asked for is here: go on with the command."""
    assert session.irc is not None
    kind, label = purpose[0], purpose[-1]
    request = Request(chat, session, session.irc, Message({"label": label} if label else NO_TAGS, kind.upper(), []))
    if kind == "oper":
        _verified(request, purpose[1], answer)
    elif kind == "processes":
        for line in answer:
            request.from_server(f"NOTICE {request.nick} :{line}")
    else:
        request.from_server(f"NOTICE {request.nick} :{answer}")
    request.send()


def _verified(request: Request, name: str, ok: bool) -> None:
    session = request.session
    if not ok or all(each.name != name for each in request.config.operators):
        _refuse_oper(request)
        return
    session.operator = name
    request.numeric(n.RPL_YOUREOPER)
    if "o" not in session.modes:
        session.modes = "".join(sorted(session.modes + "o"))
        request.say(f"MODE {session.name} :+o")
    request.chat.note_modes(session)


def is_operator(request: Request) -> bool:
    """Whether the client is an operator of the server; says so if not."""
    if request.session.operator:
        return True
    request.numeric(n.ERR_NOPRIVILEGES)
    return False


def rehash(request: Request) -> None:
    """REHASH (RFC 2812, 4.2): read the configuration again."""
    if is_operator(request):
        request.numeric(n.RPL_REHASHING, "broker.toml")
        request.chat.ask(request.session, ("rehash", ""), "rehash", request.session.name)


def processes(request: Request) -> None:
    """PROCESSES: the table of the broker's processes, as `broker ps` prints it. A command of this server alone."""
    if is_operator(request):
        purpose = ("processes", request.label)
        request.label = ""
        request.chat.ask(request.session, purpose, "processes")


def kill(request: Request) -> None:
    """KILL <nickname> <comment> (RFC 2812, 3.7.1)."""
    if not is_operator(request):
        return
    chat, session = request.chat, request.session
    victim = chat.find_person(request.parameters[0])
    if victim is None:
        request.numeric(n.ERR_NOSUCHNICK, echo(request.parameters[0]))
        return
    reason = shortened(request.parameter(1), KICK_BYTES) or "no reason"
    words = f"Killed ({session.name} ({reason}))"
    if victim is session:
        request.end(words)
    elif victim.irc is None:
        chat.kick(chat.now, victim.name, reason)
    else:
        theirs = Request(chat, victim, victim.irc, NO_MESSAGE)
        theirs.add(f":{prefix(session.source)} KILL {victim.name} :{reason}")
        theirs.say(f"QUIT :{words}")
        theirs.end(words)


def wallops(request: Request) -> None:
    """WALLOPS <text> (RFC 2812, 4.7): to everybody with the user mode w, and to all operators."""
    if is_operator(request):
        line = f":{prefix(request.session.source)} WALLOPS :{request.parameters[0]}"
        for person in request.chat.people():
            if person.irc is not None and person is not request.session and ("w" in person.modes or person.operator):
                send_line(request.chat, person, line)
        if "w" in request.session.modes or request.session.operator:
            request.add(line)


def no_such_server(request: Request) -> None:
    """CONNECT, SQUIT, TRACE and their like: there is one server, and it is not linked to any other."""
    if is_operator(request):
        request.numeric(n.ERR_NOSUCHSERVER, echo(request.parameter(0)))
