"""One HTML file without kernel and network: text, data, style and scripts put into the frame of all reports."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from pathlib import Path

from liveavatar.web.assembly import assembled
from liveavatar.web.palette import variables

STATIC = Path(__file__).parent / "static"


def filled(title: str, lead: str, data: dict, script: str, styles: Iterable[str], more: str) -> str:
    """Put everything into the page. Nothing in the data can end its element.

    script: the module in static/ that the page runs, or ""; its own styles come with it. styles: further ones.
    """
    code, looks = assembled(STATIC / script) if script else ("", variables())
    page = (STATIC / "report.html").read_text(encoding="utf-8")
    parts = {"title": html.escape(title), "lead": html.escape(lead), "more": more,
             "style": "\n".join([looks, *((STATIC / name).read_text(encoding="utf-8") for name in styles)]),
             "script": code,
             "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")}
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[piece.partition("}}")[0]] + piece.partition("}}")[2] for piece in pieces[1:])
