"""Solutions of 04_flow_matching; alone: python notebooks/solutions/04_flow_matching.py"""

import torch

from liveavatar import make_schedule
from liveavatar.flow2d import figures_of, make_mixture, sample_path, start_noise
from liveavatar.lessons import check

# one-step-end: all points are at one place, whatever the noise was
three = make_mixture([[2.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], width=0.3)
ends = sample_path(three.velocity, start_noise(512), make_schedule("linear", 1))[-1]
answer = ends.mean(0)
print(check("one-step-end", answer))

# steps-for-spread: the smallest number of steps that keeps 60 %
data = make_mixture([[1.5, 0.0], [-1.5, 0.0]], width=0.3)
paths = {steps: sample_path(data.velocity, start_noise(512), make_schedule("linear", steps)) for steps in range(1, 9)}
answer = min(steps for steps, path in paths.items() if figures_of(path, data).spread_kept >= 0.6)
print(check("steps-for-spread", answer))

# velocity-at-noise
answer = data.velocity(torch.tensor([[0.5, -0.5]]), 1.0)
print(check("velocity-at-noise", answer))
