"""Colours that people with any colour vision can tell apart (Okabe & Ito 2008), the same in Python and the browser."""

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILION, PURPLE, GREY = "#0072b2", "#d55e00", "#cc79a7", "#8a8a8a"

STEPS = (SKY, BLUE, GREEN, ORANGE, PURPLE, VERMILION, YELLOW, GREY)   # one a sampler step, then again from the start


def of_step(index: int) -> str:
    """Return the colour of a sampler step, wherever it is drawn."""
    return STEPS[index % len(STEPS)]
