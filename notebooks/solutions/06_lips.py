"""Solutions of 06_lips; alone: python notebooks/solutions/06_lips.py"""

import liveavatar
from liveavatar.lessons import check
from liveavatar.metrics.lips import offset_curve, true_opening

truth = true_opening(liveavatar.samples()["welcome"], 60)

# two-early: minus is earlier; the ends, where roll has put what came from the other end, are cut off
answer = offset_curve(truth.roll(-2)[5:-5], truth[5:-5]).best_ms
print(check("two-early", answer))

# unnoticed: whole pictures of 40 ms
answer = 45 // 40, 125 // 40
print(check("unnoticed", answer))

# half-open: a correlation compares shapes, not sizes
answer = offset_curve(truth / 2, truth).peak
print(check("half-open", answer))
