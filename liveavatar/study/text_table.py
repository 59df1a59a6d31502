"""Rows of values as a table: words in a terminal, HTML in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from liveavatar.study.table import Estimate


@dataclass(frozen=True)
class Text:
    """Rows of values as a table."""

    lines: Sequence[dict]

    def __str__(self) -> str:
        names = list(self.lines[0]) if self.lines else []
        cells = [[shown(line.get(name)) for name in names] for line in self.lines]
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        return "\n".join("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
                         for line in (names, *cells))

    def _repr_html_(self) -> str:
        names = list(self.lines[0]) if self.lines else []
        head = "".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in names)
        left = "<td style='text-align:left;vertical-align:top'>"
        body = "".join("<tr>" + "".join(f"{left}{html.escape(shown(line.get(name)))}</td>" for name in names) + "</tr>"
                       for line in self.lines)
        return f"<table><tr>{head}</tr>{body}</table>"


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (float, Estimate)) else str(value)
