"""Solutions of 12_resolution; alone: python notebooks/solutions/12_resolution.py"""

from liveavatar.lessons import check
from liveavatar.study.released import clip_petaflop, needed_gib

# steps-on-an-h200: bytes to GiB, then the last number that fits
card_gib = 141e9 / 2**30
answer = max(steps for steps in range(4, 20) if needed_gib("704*384", steps) < card_gib)
print(check("steps-on-an-h200", answer))

# twice-the-sides
answer = clip_petaflop("1408*768", frames=48, steps=4) / clip_petaflop("704*384", frames=48, steps=4)
print(check("twice-the-sides", answer))
