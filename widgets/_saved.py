"""What a view leaves in a saved notebook: a picture, and words instead of JupyterLab's error where no kernel is."""

from __future__ import annotations

import base64

# JupyterLab says "Error displaying widget: model not found" for a view whose kernel is gone. The output before this one
# is hidden as long as no view is alive in it; live.css hides this one while a view is.
STYLE = ".jp-OutputArea-child:has(+ .jp-OutputArea-child .la-still):not(:has(.la)) { display: none; }"
WORDS = "A picture of this view as it was last. Run the cell to bring it to life."
NO_PICTURE = "Run this cell to see the view: it needs a running kernel."


def still_html(name: str, picture: bytes | None) -> str:
    """Write the output that stands in for a view. name: of the view, for those who do not see; picture: a PNG, None
    where there was nothing to see yet."""
    shown = "" if picture is None else (
        f'<img alt="{name} as it was last" src="data:image/png;base64,{base64.b64encode(picture).decode()}">')
    words = NO_PICTURE if picture is None else WORDS
    return f'<style>{STYLE}</style><div class="la-still">{shown}<div style="opacity:.7">{words}</div></div>'
