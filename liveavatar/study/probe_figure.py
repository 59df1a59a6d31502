"""Draw when what is decided: how well each quantity can be read linearly off the noisy latents."""

from __future__ import annotations

from collections.abc import Sequence

from liveavatar.metrics.probe import QUANTITIES, Probe
from liveavatar.study.drawing import DARK_GREY, STUDENT, Picture, axes, finished, legend
from liveavatar.web.palette import GREEN, ORANGE, PURPLE

COLOURS = dict(zip(QUANTITIES, (PURPLE, STUDENT, ORANGE, GREEN), strict=True))


def draw_probe(probe: Probe, sigmas: Sequence[float] = ()) -> Picture:
    """Draw R² on held clips against the noise level, noise on the left, with 95 % intervals.

    sigmas: noise levels to mark, such as those at which the steps of a run begin and end
    """
    figure, (axis,) = axes(1, 8.5, 4.2)
    for quantity, colour in COLOURS.items():
        means, lows, highs = zip(*probe.r2(quantity), strict=True)
        axis.plot(probe.sigmas, means, "o-", color=colour, label=quantity, markersize=4)
        axis.fill_between(probe.sigmas, lows, highs, color=colour, alpha=0.15, linewidth=0)
    for step, sigma in enumerate(sigmas[:-1]):
        axis.axvline(sigma, color=DARK_GREY, linewidth=0.8, linestyle=":")
        axis.text(sigma, 1.04, f"step {step}", fontsize=8, color=DARK_GREY, ha="center")
    axis.set_xlim(1.03, -0.03)
    axis.set_ylim(-0.15, 1.1)
    axis.axhline(0, color=DARK_GREY, linewidth=0.8)
    axis.set_xlabel("noise level sigma of x (1 noise, 0 picture)")
    axis.set_ylabel("R² on held clips\n(1 read exactly, 0 not at all)")
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4)
    words = (f"Linear probe of mini's latents, trained on {probe.about['trained']} latent frames, judged on "
             f"{probe.about['held']} of other people and voices; 95 % intervals.")
    figure.supxlabel(words, fontsize=7.5, color=DARK_GREY, x=0.01, ha="left")
    return finished(figure, None, "When is what decided?")
