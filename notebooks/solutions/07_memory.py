"""Solutions of 07_memory; alone: python notebooks/solutions/07_memory.py"""

import liveavatar
from liveavatar.lessons import check

# The lesson has made a run of 2.4 s. All caches are of one size and made whole at the first step, so that one step of
# a run of each length is enough to know what it takes.
pipe, speech, portrait = liveavatar.load("mini"), liveavatar.samples()["steps"], liveavatar.avatar(seed=21)
longer, shorter = (liveavatar.GenerationConfig(duration_s=seconds) for seconds in (2.4, 1.2))
rings = [next(pipe.steps(speech, portrait, "serious", config)).cache for config in (longer, shorter)]

# longer-ring: only the ring grows, not the portrait's entries
entries = [rings[0].condition_tokens + frames * rings[0].frame_tokens for frames in (18, 9)]
answer = entries[0] / entries[1]
print(check("longer-ring", answer))

# twice-as-long
answer = 4 * rings[0].bytes / (4 * rings[1].bytes)
print(check("twice-as-long", answer))
