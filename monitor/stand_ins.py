"""What is written instead of the dashboard's own characters where the terminal's encoding lacks them. Pure.

Given to a stream as its way with what it cannot encode, so nothing that draws needs to know of encodings. Runs in
`broker top`.
"""

from __future__ import annotations

import codecs
from typing import Final

from rich.cells import cell_len

from monitor.sparkline import BARS

ERRORS: Final = "broker.stand-ins"
"""The name of this for `str.encode`, `open` and `TextIOWrapper.reconfigure`, once this module has been imported."""

STAND_INS: Final = {
    **dict(zip("├└│─…↑↓→·▏", "|`|-~^v>-_", strict=True)),
    **dict(zip(BARS, "_.:-=+*#", strict=True)),
}


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """As many cells as the characters would take, lest the columns move: question marks for those from outside."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(STAND_INS.get(char, "?" * cell_len(char)) for char in missing), error.end


codecs.register_error(ERRORS, _stand_in)
