"""Solutions of 15_deadlines; alone: python notebooks/solutions/15_deadlines.py"""

import numpy as np

from liveavatar.lessons import check
from liveavatar.study import figures
from liveavatar.study.measures import usual

# head-start: making takes so much longer than showing
block_s, shown_s = 0.614, 0.480
blocks = 60 / shown_s
answer = blocks * (block_s - shown_s)
print(check("head-start", answer))

# cost-of-a-step: the slope of a straight line
rows = usual(figures.results().table).where(model="student")
work = {steps: one.mean for steps, one in rows.by("steps", "work_ms_per_frame").items()}
answer = np.polyfit(list(work), list(work.values()), 1)[0]
print(check("cost-of-a-step", answer))
