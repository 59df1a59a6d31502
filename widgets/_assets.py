"""JavaScript and CSS of a view, joined into one module and one style without a build step."""

from __future__ import annotations

import json
import re
from pathlib import Path

from liveavatar.glossary import TERMS

STATIC = Path(__file__).parent / "static"
MODULE_WORDS = re.compile(r"^(?:import [^;]+;\n|export (?=(?:async )?function|class|const))", re.MULTILINE)
OWN = ("compare", "inputs", "player_engine", "present", "recorder", "run_pair", "save", "step_detail", "upload",
       "waveform")
LIBRARIES = {"uplot": ("uplot/uPlot.iife.min.js", "uplot/uPlot.min.css")} | {
    name: (f"{name}.js", f"{name}.css") for name in OWN}


def assemble(script: str, libraries: tuple[str, ...]) -> tuple[str, str]:
    """Return the module and the style of a view: libraries, what all views share, and its own. Nothing is fetched."""
    parts = ["keys.js", *(LIBRARIES[name][0] for name in libraries), "live.js", script]
    styles = [LIBRARIES[name][1] for name in libraries] + ["live.css", script.replace(".js", ".css")]
    code = [joined((STATIC / part).read_text(encoding="utf-8")) for part in parts]
    looks = [(STATIC / style).read_text(encoding="utf-8") for style in styles if (STATIC / style).is_file()]
    terms = f"const LA_TERMS = {json.dumps(TERMS, ensure_ascii=False)};"
    return "\n".join([terms, *code, "export default live(view);"]), "\n".join(looks)


def joined(module: str) -> str:
    """Take the imports and exports out of an ES module: all modules of a view become one."""
    return MODULE_WORDS.sub("", module)
