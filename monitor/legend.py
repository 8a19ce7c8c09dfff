"""The words for STAT's letters and flags, in English and Chinese. Pure.

After ps(1), "PROCESS STATE CODES", and Documentation/filesystems/proc.rst; shown by the dashboard's details and taught
in docs/processes.md.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Language = Literal["en", "zh"]


class Words(NamedTuple):
    """One meaning in both languages."""

    en: str
    zh: str


STATES: Final[dict[str, Words]] = {
    "R": Words("running, or ready to run and waiting for a CPU", "正在运行，或已就绪、等待 CPU"),
    "S": Words("sleeping until something happens", "可中断睡眠，等待事件发生"),
    "D": Words(
        "in uninterruptible sleep, usually for a disk; not even KILL ends it now",
        "不可中断睡眠，通常在等磁盘；此刻连 KILL 也杀不掉",
    ),
    "T": Words("stopped by a signal; CONT lets it go on", "被信号停止；CONT 使它继续"),
    "t": Words("stopped by a debugger", "被调试器停住"),
    "Z": Words("zombie: dead, until its parent asks how it ended", "僵尸：已经结束，等父进程来收尸"),
    "X": Words("dead; only to be seen in passing", "已死亡；只会一闪而过"),
    "I": Words("idle thread of the kernel", "空闲的内核线程"),
    "P": Words("parked thread of the kernel", "停放的内核线程"),
}

FLAGS: Final[dict[str, Words]] = {
    "<": Words("raised priority: nice below 0", "高优先级：nice 小于 0"),
    "N": Words("lowered priority: nice above 0", "低优先级：nice 大于 0"),
    "L": Words("has memory locked in RAM", "有内存锁定在物理内存中"),
    "s": Words("leads its session", "会话首进程"),
    "l": Words("has several threads", "多线程"),
    "+": Words("in the foreground of its terminal", "位于终端的前台进程组"),
}

UNHEARD_OF: Final = Words("a state that this legend does not know", "此图例不认识的状态")


def explain(stat: str, language: Language = "en") -> list[tuple[str, str]]:
    """Each character of a STAT with its meaning, in their order; empty for an empty STAT (no process)."""
    if not stat:
        return []
    meanings = [(stat[0], STATES.get(stat[0], UNHEARD_OF))]
    meanings += [(flag, FLAGS.get(flag, UNHEARD_OF)) for flag in stat[1:]]
    return [(letter, getattr(words, language)) for letter, words in meanings]
