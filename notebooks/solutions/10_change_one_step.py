"""Solutions of 10_change_one_step; alone: python notebooks/solutions/10_change_one_step.py"""

import torch

import liveavatar
from liveavatar import ReplaceRegion
from liveavatar.lessons import check
from liveavatar.metrics.run_pairs import block_difference

# The lesson's run, and noise over the mouth before each step of block 1
pipe = liveavatar.load("mini")
run = liveavatar.Run.of(pipe, liveavatar.samples()["welcome"], liveavatar.avatar(seed=7), "happy, in warm light",
                        liveavatar.GenerationConfig(start_s=0.96, duration_s=0.96))
run.start().result()
branches = [run.branch(1, step, latent=ReplaceRegion((0.35, 0.55, 0.65, 0.75))).start() for step in range(4)]
for branch in branches:
    branch.result()

# untouched-cells: the same latents, bit for bit
early = branches[1]
answer = sum(torch.equal(run.step_record(block, step).x, early.step_record(block, step).x)
             for block in range(2) for step in range(4))
print(check("untouched-cells", answer))

# noise-is-seen: how far the finished pictures of block 1 are apart
apart = [block_difference(branch, run, 1) for branch in branches]
answer = apart.index(max(apart))
print(check("noise-is-seen", answer))
