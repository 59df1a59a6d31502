"""One HTML file without kernel and network: text, data, style and scripts put into the frame of all reports."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from pathlib import Path

STATIC = Path(__file__).parent / "static"


def filled(title: str, lead: str, data: dict, scripts: Iterable[str], styles: Iterable[str], more: str) -> str:
    """Put everything into the page. Nothing in the data can end its element."""
    page = (STATIC / "report.html").read_text(encoding="utf-8")
    parts = {"title": html.escape(title), "lead": html.escape(lead), "more": more,
             "style": "\n".join((STATIC / name).read_text(encoding="utf-8") for name in styles),
             "script": "\n".join((STATIC / name).read_text(encoding="utf-8") for name in scripts),
             "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")}
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[piece.partition("}}")[0]] + piece.partition("}}")[2] for piece in pieces[1:])
