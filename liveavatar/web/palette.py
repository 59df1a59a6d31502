"""Colours that people with any colour vision can tell apart (Okabe & Ito 2008): the one source for Python, scripts and
styles.

Scripts have them as `LA_COLOURS` and `LA_STEPS` (`palette.js`), styles as `var(--la-orange)` and so on.
"""

from __future__ import annotations

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILION, PURPLE, GREY = "#0072b2", "#d55e00", "#cc79a7", "#8a8a8a"

COLOURS = {"orange": ORANGE, "sky": SKY, "green": GREEN, "yellow": YELLOW, "blue": BLUE, "vermilion": VERMILION,
           "purple": PURPLE, "grey": GREY}
STEPS = (SKY, BLUE, GREEN, ORANGE, PURPLE, VERMILION, YELLOW, GREY)   # one a sampler step, then again from the start


def of_step(index: int) -> str:
    """Return the colour of a sampler step, wherever it is drawn."""
    return STEPS[index % len(STEPS)]


def variables() -> str:
    """Return the style sheet that declares the colours: `:root { --la-orange: #e69f00; ... }`."""
    return f":root {{ {' '.join(f'--la-{name}: {colour};' for name, colour in COLOURS.items())} }}"
