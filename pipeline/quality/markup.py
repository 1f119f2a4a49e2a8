"""Text from outside on its way into HTML and SVG."""

from __future__ import annotations

import re
import unicodedata
from html import escape

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_CONTROLS = ("Cc", "Cf", "Cs", "Co")  # Unicode categories: control, format (text direction), surrogates, private use


def printable(value: object) -> str:
    """``value`` as text without terminal colours; control characters and text-direction overrides become U+FFFD."""
    plain = _ANSI.sub("", str(value)).encode("utf-8", "replace").decode()
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _CONTROLS else "\ufffd" for c in plain)


def text(value: object) -> str:
    """``value`` for HTML text and attributes: ``printable`` and escaped."""
    return escape(printable(value), quote=True)
