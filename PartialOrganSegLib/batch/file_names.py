"""Names of results that every system can hold, and which of them are one file where a run may move to."""

from __future__ import annotations

import re
import unicodedata

LONGEST_PART = 200  # bytes of a name or folder under `output`: file systems take 255, and results have endings
# What Windows cannot hold: letters, devices whatever ending they have, and dots or blanks at the end, which it drops.
_FORBIDDEN = re.compile(r'[\x00-\x1f\\/:*?"<>|]|[. ]$')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE)


def fits_everywhere(part: str) -> bool:
    """Whether a file or folder may have the name on every system.

    >>> [fits_everywhere(name) for name in ("liver 7", "nul.2", "a.", "a?b")]
    [True, False, False, False]
    """
    if len(part.encode("utf-8", "surrogatepass")) > LONGEST_PART:
        return False
    return _FORBIDDEN.search(part) is None and _DEVICE.fullmatch(part) is None


def folded(name: str) -> str:
    """The same for names that are one file on some system: Windows and macOS do not tell capitals apart, and macOS
    writes an accent as a letter of its own or not."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
