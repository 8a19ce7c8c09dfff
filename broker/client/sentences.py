"""What the client itself says, in the languages of the broker. Pure.

Used by the process of `broker chat`; the broker's own sentences are in `broker.phrases`.
"""

from __future__ import annotations

from typing import Final

from broker.phrases import Phrase

CONNECTION_LOST: Final = Phrase(
    "连接断了，刚才发出的话可能没有送到。正在重新连接……",
    "The connection was lost; what you sent last may not have arrived. Connecting again...",
)
CONNECTING_AGAIN: Final = Phrase("正在重新连接……", "Connecting again...")
CONNECTED_AGAIN: Final = Phrase("又连上了。", "Connected again.")
NEXT_ATTEMPT: Final = Phrase("{seconds} 秒后再试：{reason}", "next attempt in {seconds} s: {reason}")
NAME_STILL_HELD: Final = Phrase(
    "名字 {name} 还被断掉的连接占着，稍等再试。",
    "The lost connection still holds the name {name}; trying again shortly.",
)
NOT_CONNECTED: Final = Phrase("还没有连上，这一行先留着。", "Not connected yet; your line stays where it is.")
LINE_TOO_LONG: Final = Phrase(
    "这一行有 {length} 字节，最多 {limit}，没有发出去。",
    "That line has {length} bytes, {limit} at most; it was not sent.",
)
NAME_PROMPT: Final = Phrase("姓名: ", "Your name: ")
CONNECTING: Final = Phrase("正在连接……", "connecting...")
ENTERING: Final = Phrase("正在进入……", "entering...")
ASKING_NAME: Final = Phrase("回车接受，或改成别的名字", "Enter accepts the name, or type another")
NO_ROOM: Final = Phrase("不在聊天室里", "in no room")
PEOPLE_HERE: Final = Phrase("{count} 人", "{count} here")
LEAVE_HINT: Final = Phrase("再按一次 Ctrl-C 离开", "Ctrl-C again leaves")
WHISPER_TO_ME: Final = Phrase("（悄悄对你说）{text}", "(to you only) {text}")
WHISPER_BY_ME: Final = Phrase("（悄悄对 {name} 说）{text}", "(to {name} only) {text}")
