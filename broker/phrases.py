"""Every sentence that the broker says to people, in each language it speaks, in one table. Pure.

A placeholder such as `{name}` must stand in all languages of a phrase; a test checks it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Phrase(NamedTuple):
    """One sentence; the fields are the languages."""

    zh: str
    en: str

    def fill(self, language: str, **values: object) -> str:
        """The sentence in `language` (one of LANGUAGES) with its placeholders filled."""
        text: str = getattr(self, language)
        return text.format(**values)


LANGUAGES: Final = Phrase._fields

# What happens in a room; these are the exact bytes of the plain protocol.
JOINED: Final = Phrase("{name} 进入了聊天室", "{name} joined the room")
LEFT: Final = Phrase("{name} 退出了聊天室", "{name} left the room")
SAID: Final = Phrase("{name}说: {text}", "{name}: {text}")
ACTED: Final = Phrase("** {name} {text}", "** {name} {text}")
RENAMED: Final = Phrase("{old} 改名为 {new}", "{old} is now known as {new}")
WHISPERED: Final = Phrase("{name} 悄悄对你说: {text}", "{name} whispers to you: {text}")

# The name.
ASK_NAME: Final = Phrase("请输入姓名: ", "Please enter your name: ")
NAME_IN_USE: Final = Phrase("这个名字已经有人在用了，换一个吧。", "That name is in use; please take another.")
NAME_EMPTY: Final = Phrase("名字不能为空。", "A name cannot be empty.")
NAME_TOO_LONG: Final = Phrase("名字太长了，最多 {limit} 个字符。", "That name is too long; {limit} characters at most.")
NAME_SPACE: Final = Phrase("名字里不能有空格。", "A name cannot have spaces in it.")
NAME_UNPRINTABLE: Final = Phrase(
    "名字里有看不见的字符，换一个吧。", "That name has characters that cannot be seen; please take another."
)
NAME_SYMBOL: Final = Phrase(
    "名字里不能有 {anywhere} 这些符号，也不能以 {first} 开头。",
    "A name cannot contain any of {anywhere} or begin with one of {first}.",
)
NAME_FIRST: Final = Phrase("先告诉我你的名字吧。", "Your name first, please.")
NAME_TIMED_OUT: Final = Phrase(
    "{seconds} 秒内没有等到名字，连接关闭了。", "No name within {seconds} seconds; closing the connection."
)
NAME_CHANGED: Final = Phrase("好，你现在叫 {name}。", "You are now known as {name}.")
NAME_UNCHANGED: Final = Phrase("你本来就叫 {name}。", "{name} is your name already.")

# Arriving, leaving, looking around.
WELCOME: Final = Phrase(
    "欢迎你，{name}！直接打字就能聊天，/help 列出全部命令。",
    "Welcome, {name}! Just type to talk; /help lists the commands.",
)
ROOM_ENTERED: Final = Phrase("你在聊天室 {room}。在场的还有：{names}", "You are in {room}. Also here: {names}")
ROOM_ENTERED_MORE: Final = Phrase(
    "你在聊天室 {room}。在场的还有：{names} 和另外 {count} 人", "You are in {room}. Also here: {names} and {count} more"
)
ROOM_ENTERED_ALONE: Final = Phrase(
    "你在聊天室 {room}，这里暂时只有你一个人。", "You are in {room}. Nobody else is here yet."
)
ROOM_SAME: Final = Phrase("你已经在 {room} 里了。", "You are in {room} already.")
ROOM_LEFT: Final = Phrase("你离开了 {room}。用 /join 进入一个聊天室。", "You left {room}. /join enters a room.")
ROOM_NONE: Final = Phrase(
    "你不在任何聊天室里，没有人听得到。用 /join 进入一个吧。",
    "You are in no room, so nobody can hear you. /join enters one.",
)
ROOM_UNKNOWN: Final = Phrase("没有 {room} 这个聊天室。/rooms 列出全部。", "There is no room {room}. /rooms lists them.")
ROOM_PEOPLE: Final = Phrase("{room} ({total}): {names}", "{room} ({total}): {names}")
ROOM_PEOPLE_MORE: Final = Phrase(
    "{room} ({total}): {names} 和另外 {count} 人", "{room} ({total}): {names} and {count} more"
)
ROOM_EMPTY: Final = Phrase("{room} 里现在没有人。", "Nobody is in {room}.")
ROOMS: Final = Phrase("聊天室：{rooms}", "Rooms: {rooms}")
ROOMS_MORE: Final = Phrase("聊天室：{rooms} 和另外 {count} 个", "Rooms: {rooms} and {count} more")

# One to one.
PERSON_UNKNOWN: Final = Phrase("这里没有叫 {name} 的人。", "There is nobody called {name}.")
WHISPER_SENT: Final = Phrase("你悄悄对 {name} 说: {text}", "You whispered to {name}: {text}")

PERSON_AWAY: Final = Phrase("{name} 暂时离开了：{reason}", "{name} is away: {reason}")
PERSON_HERE: Final = Phrase("{name} 已经在这里了。", "{name} is here already.")
PERSON_NOT_HERE: Final = Phrase("{name} 不在这个聊天室里。", "{name} is not in this room.")

# What a room is about, and who decides in it.
TOPIC: Final = Phrase("{room} 的话题：{topic}", "The topic of {room}: {topic}")
TOPIC_NONE: Final = Phrase("{room} 没有话题。", "{room} has no topic.")
TOPIC_CHANGED: Final = Phrase("{name} 把话题改成了：{topic}", "{name} set the topic: {topic}")
TOPIC_REMOVED: Final = Phrase("{name} 去掉了话题。", "{name} removed the topic.")
MODES_CHANGED: Final = Phrase("{name} 更改了聊天室的设置：{modes}", "{name} changed the room's modes: {modes}")
ROOM_RENAMED: Final = Phrase("聊天室 {old} 现在叫 {new}。", "The room {old} is now called {new}.")
INVITED: Final = Phrase(
    "{name} 请你去聊天室 {room}，用 /join {room} 就能进去。",
    "{name} invites you to {room}; /join {room} takes you there.",
)
INVITE_SENT: Final = Phrase("你请 {name} 来 {room}。", "You invited {name} to {room}.")
PUT_OUT: Final = Phrase("{name} 把你请出了 {room}。", "{name} put you out of {room}.")
PUT_OUT_BECAUSE: Final = Phrase("{name} 把你请出了 {room}：{reason}", "{name} put you out of {room}: {reason}")
NOT_OPERATOR: Final = Phrase("只有这个聊天室的管理员才能这样做。", "Only operators of the room may do that.")
SPEECH_REFUSED: Final = Phrase("你现在不能在 {room} 里说话。", "You may not speak in {room} now.")
ENTRY_BANNED: Final = Phrase("{room} 不让你进去。", "You are banned from {room}.")
ENTRY_INVITATION: Final = Phrase("{room} 只有受邀的人才能进。", "{room} is by invitation only.")
ENTRY_PASSWORD: Final = Phrase("{room} 需要密码：/join {room} 密码", "{room} needs a password: /join {room} PASSWORD")
ENTRY_FULL: Final = Phrase("{room} 满了。", "{room} is full.")
ENTRY_ACCOUNT: Final = Phrase("{room} 只有登录的人才能进。", "{room} is for people with an account only.")

# Settings, mistakes.
LANGUAGE_SET: Final = Phrase("好，现在说中文。", "Fine, English from here on.")
LANGUAGE_UNKNOWN: Final = Phrase("可选的语言：{languages}", "Languages: {languages}")
USAGE: Final = Phrase("用法：{usage}", "Usage: {usage}")
COMMAND_UNKNOWN: Final = Phrase(
    "没有 /{word} 这个命令。/help 列出全部命令。", "There is no command /{word}. /help lists them."
)
COMMAND_NEAREST: Final = Phrase(
    "没有 /{word} 这个命令，你要的是 /{nearest} 吗？/help 列出全部命令。",
    "There is no command /{word}; did you mean /{nearest}? /help lists them.",
)
LINE_TOO_LONG: Final = Phrase(
    "这一行太长了，最多 {limit} 字节，没有发出去。", "That line is longer than {limit} bytes; it was not sent."
)

# Farewells.
GOODBYE: Final = Phrase("再见！", "Goodbye!")
KICKED: Final = Phrase("你被请出了聊天室。", "You were removed from the chat.")
KICKED_BECAUSE: Final = Phrase("你被请出了聊天室：{reason}", "You were removed from the chat: {reason}")
FELL_BEHIND: Final = Phrase(
    "你那边太久没有接收消息，连接关闭了。", "You did not read for too long; closing the connection."
)
CLOSING: Final = Phrase("聊天室要关门了，再见！", "The chat is closing. Goodbye!")

# The commands: how each is written, and what it does.
HELP: Final = Phrase("直接打字就是说话。命令：", "Whatever you type is said in the room. Commands:")
JOIN_USAGE: Final = Phrase("/join 聊天室", "/join ROOM")
JOIN_HELP: Final = Phrase(
    "换到另一个聊天室，没有就新开一个", "go to another room; a new one if there is none of that name"
)
PART_USAGE: Final = Phrase("/part", "/part")
PART_HELP: Final = Phrase("离开聊天室，但不断开", "leave the room, but stay connected")
ROOMS_USAGE: Final = Phrase("/rooms", "/rooms")
ROOMS_HELP: Final = Phrase("有哪些聊天室，各有几人", "which rooms there are, and how many people are in each")
WHO_USAGE: Final = Phrase("/who [聊天室]", "/who [ROOM]")
WHO_HELP: Final = Phrase("有谁在", "who is there")
MSG_USAGE: Final = Phrase("/msg 姓名 内容", "/msg NAME TEXT")
MSG_HELP: Final = Phrase("悄悄对一个人说", "say something to one person only")
ME_USAGE: Final = Phrase("/me 动作", "/me TEXT")
ME_HELP: Final = Phrase("说你在做什么", "say what you are doing")
NICK_USAGE: Final = Phrase("/nick 姓名", "/nick NAME")
NICK_HELP: Final = Phrase("改名", "change your name")
TOPIC_USAGE: Final = Phrase("/topic [话题]", "/topic [TEXT]")
TOPIC_HELP: Final = Phrase("看或者改聊天室的话题", "what the room is about, or something new for it to be about")
INVITE_USAGE: Final = Phrase("/invite 姓名", "/invite NAME")
INVITE_HELP: Final = Phrase("请一个人来这个聊天室", "ask somebody into this room")
KICK_USAGE: Final = Phrase("/kick 姓名 [原因]", "/kick NAME [REASON]")
KICK_HELP: Final = Phrase("把一个人请出聊天室 (管理员)", "put somebody out of the room (operators)")
OP_USAGE: Final = Phrase("/op 姓名", "/op NAME")
OP_HELP: Final = Phrase("让一个人也当管理员 (管理员)", "make somebody an operator of the room (operators)")
LANG_USAGE: Final = Phrase("/lang zh|en", "/lang zh|en")
LANG_HELP: Final = Phrase("换语言（speak English: /lang en）", "change the language (说中文: /lang zh)")
HELP_USAGE: Final = Phrase("/help", "/help")
HELP_HELP: Final = Phrase("这份说明", "this list")
QUIT_USAGE: Final = Phrase("/quit", "/quit")
QUIT_HELP: Final = Phrase("再见", "goodbye")
SLASH_USAGE: Final = Phrase("//内容", "//TEXT")
SLASH_HELP: Final = Phrase("说一句以斜线开头的话", "say something that begins with a slash")

# From the acceptor, to somebody who is turned away.
SERVER_FULL: Final = Phrase(
    "聊天室满了 (最多 {limit} 个连接)，请稍后再来。",
    "The chat is full ({limit} connections); please try again later.",
)
ADDRESS_FULL: Final = Phrase(
    "你的地址已经有 {limit} 个连接，不能再多了。",
    "There are {limit} connections from your address already, the most that is allowed.",
)
