"""Solutions of 05_caches; alone: python notebooks/solutions/05_caches.py"""

import liveavatar
from liveavatar.lessons import check

# The lesson has made a run, and `ring = run.rings[0]`; the ring of one step is as large.
pipe, block_s = liveavatar.load("mini"), 0.48
ring = next(pipe.steps(liveavatar.samples()["river"], liveavatar.avatar(seed=12), "calm")).cache

# ring-at-block-5: what was written, but no more than there is room for
answer = min(5 * 3, ring.capacity) * ring.frame_tokens
print(check("ring-at-block-5", answer))

# overwritten-at: the first block that finds the ring full
answer = ring.capacity // 3 * block_s
print(check("overwritten-at", answer))

# forgotten-portrait: the first block that finds a ring of six latent frames full
config = liveavatar.GenerationConfig(ring_frames=6, portrait_sink=False)
answer = config.ring_frames // 3
print(check("forgotten-portrait", answer))

# clean-cache-work: calls of the network for a block, with and without the clean pass
steps = config.sample_steps
answer = (steps + 1) / steps
print(check("clean-cache-work", answer))
