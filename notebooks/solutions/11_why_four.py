"""Solutions of 11_why_four; alone: python notebooks/solutions/11_why_four.py"""

import math

import liveavatar
from liveavatar.lessons import check
from liveavatar.study import figures
from liveavatar.study.measures import usual

# The lesson's videos of one step and of four, from the same noise
pipe, speech, portrait = liveavatar.load("mini"), liveavatar.samples()["welcome"], liveavatar.avatar(seed=7)
config = dict(start_s=0.96, duration_s=0.48)
pairs = {steps: liveavatar.Run.of(pipe, speech, portrait, "smiling",
                                  liveavatar.GenerationConfig(sample_steps=steps, **config)) for steps in (1, 4)}
for run in pairs.values():
    run.start().result()

# one-step-again
one = pairs[1].step_record(0, 0).clean
apart = [(one - pairs[4].step_record(0, step).clean).abs().max() for step in range(4)]
answer = apart.index(min(apart))
print(check("one-step-again", answer))

# psnr-peak
rows = usual(figures.results().table).where(model="student")
means = {steps: one.mean for steps, one in rows.by("steps", "texture.psnr_db").items()}
answer = max(means, key=means.get)
print(check("psnr-peak", answer))

# texture-of-a-fourth
answer = rows.difference("texture.kept", {"steps": 3}, {"steps": 4}, relative=True).mean
print(check("texture-of-a-fourth", answer))

# perfect-answer: weights exp(-(x - (1 - sigma) c)^2 / (2 sigma^2))
x, sigma, possible = 0.4, 0.5, (-1, 1)
weights = [math.exp(-(x - (1 - sigma) * c) ** 2 / (2 * sigma**2)) for c in possible]
answer = sum(weight * c for weight, c in zip(weights, possible, strict=True)) / sum(weights)
print(check("perfect-answer", answer))
