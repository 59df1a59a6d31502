"""Solutions of 01_first_words; alone: python notebooks/solutions/01_first_words.py"""

from itertools import islice
from math import ceil

import liveavatar
from liveavatar.lessons import check

# pictures-of-river: as many pictures as the sound lasts, rounded up
river = liveavatar.samples()["river"]
answer = ceil(len(river.wave) / river.rate_hz * 25)
print(check("pictures-of-river", answer))

# portrait-decides: the lesson has both traces; here the first two steps of each are made once more
pipe, portrait = liveavatar.load("mini"), liveavatar.sample_portraits()["woman"]
speech = liveavatar.samples()["welcome"]
bare = liveavatar.GenerationConfig(portrait_strength=0)
trace = list(islice(pipe.steps(speech, portrait, "smiling, in warm light"), 2))
nobody = list(islice(pipe.steps(speech, portrait, "smiling", bare), 2))

changes = [(seen[1].clean - seen[0].clean).square().mean().sqrt() for seen in (trace, nobody)]
answer = changes[1] / changes[0]
print(check("portrait-decides", answer))
