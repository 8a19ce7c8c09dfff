"""Operators of the server: who may be one, and how a password is kept. Pure; hashing takes long on purpose.

A password is kept as `scrypt$LOG2_N$R$P$SALT$HASH`, the last two in base64: what RFC 7914 needs to make the hash again.
`broker mkpasswd` makes one; whoever checks one does it where nobody has to wait for it, never in the router.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final, NamedTuple

SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
LOG2_N: Final = 14
R: Final = 8
P: Final = 1
"""16 MiB and a twentieth of a second (RFC 7914, 2: N, r and p)."""
_LOG2_N_MOST: Final = 20
_R_MOST: Final = 32
_P_MOST: Final = 16
_MEMORY_BYTES: Final = 2**30


class Operator(NamedTuple):
    """Who may become operator: the name for OPER, the hash of the password, and the masks of whom it is for (none: of
    everybody).
    """

    name: str
    password_hash: str
    masks: tuple[str, ...] = ()


def hashed(password: str, salt: bytes) -> str:
    """The text that keeps a password; `salt` is SALT_BYTES random bytes."""
    digest = _digest(password, salt, LOG2_N, R, P)
    parts = ("scrypt", str(LOG2_N), str(R), str(P), base64.b64encode(salt).decode(), base64.b64encode(digest).decode())
    return "$".join(parts)


def is_hash(text: str) -> bool:
    """Whether the text has the form of what `hashed` gives, and can be checked with bearable effort."""
    return _parsed(text) is not None


def is_password(password_hash: str, password: str) -> bool:
    """Whether it is the password that was hashed; False if the hash is none."""
    parsed = _parsed(password_hash)
    if parsed is None:
        return False
    log2_n, r, p, salt, digest = parsed
    return hmac.compare_digest(_digest(password, salt, log2_n, r, p), digest)


def _digest(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    data = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(data, salt=salt, n=1 << log2_n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=HASH_BYTES)


def _parsed(text: str) -> tuple[int, int, int, bytes, bytes] | None:
    parts = text.split("$")
    if len(parts) != 6 or parts[0] != "scrypt" or not all(part.isascii() and part.isdigit() for part in parts[1:4]):
        return None
    log2_n, r, p = (int(part[:4]) for part in parts[1:4])
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[4:])
    except (binascii.Error, ValueError):
        return None
    bearable = 1 <= log2_n <= _LOG2_N_MOST and 1 <= r <= _R_MOST and 1 <= p <= _P_MOST
    if not bearable or 128 * r << log2_n > _MEMORY_BYTES // 2 or not salt or len(digest) != HASH_BYTES:
        return None
    return log2_n, r, p, salt, digest
