"""The exercises of all lessons, in the order of teaching. Questions stand in the notebooks, solutions in
notebooks/solutions.

Every value holds on any machine. It follows from arithmetic or from files that are shipped; or it is a property of the
shipped weights that is far from its neighbours, in bfloat16 as in float32; or it is read off the committed results of
the study. New weights need another look at portrait-decides, mouth-step, sound-decides, who-listens, portrait-step and
noise-is-seen; a new study at psnr-peak, texture-of-a-fourth, won-back, cost-of-a-step and two-people.
"""

from __future__ import annotations

from liveavatar.lessons.exercise import Exercise
from liveavatar.lessons.exercises_findings import FINDINGS
from liveavatar.lessons.exercises_making import MAKING

EXERCISES: dict[str, Exercise] = {one.name: one for one in (*MAKING, *FINDINGS)}
