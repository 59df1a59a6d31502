"""Solutions of 13_prompts; alone: python notebooks/solutions/13_prompts.py"""

import math

from liveavatar import parse_prompt
from liveavatar.conditions import VOCABULARY
from liveavatar.lessons import check

# words-ignored
prompt = "An old man in a red hat, laughing, waving slowly, under a spotlight"
answer = len(parse_prompt(prompt).unknown)
print(check("words-ignored", answer))

# possible-prompts: one value, or nothing said
answer = math.prod(len(values) + 1 for values in VOCABULARY.values())
print(check("possible-prompts", answer))
