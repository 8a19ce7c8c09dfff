"""How long: seconds as people read them. Pure."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`42s`, `3m07s`, `5h02m`, `12d03h`: the two largest units."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
