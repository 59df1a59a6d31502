"""Solutions of 03_four_steps; alone: python notebooks/solutions/03_four_steps.py"""

import liveavatar
from liveavatar.lessons import check
from liveavatar.metrics.lips import mouth_opening
from liveavatar.preview import decode_exactly

pipe = liveavatar.load("mini")
speech, portrait = liveavatar.samples()["welcome"], liveavatar.avatar(seed=7)
config = liveavatar.GenerationConfig(duration_s=0.96)
condition = pipe.condition(speech, portrait, "smiling", config)

# third-step-starts: steps are counted from 0
schedule = liveavatar.make_schedule("released", steps=4)
answer = schedule.sigmas[2]
print(check("third-step-starts", answer))

# mouth-step: the mouth in each of the four guesses of block 1
steps = [step for step in pipe.steps(condition, config=config) if step.block == 1]
mouths = [mouth_opening(decode_exactly(pipe.backend, step.clean)) for step in steps]
spreads = [mouth.std() for mouth in mouths]
answer = spreads.index(max(spreads))
print(check("mouth-step", answer))

# sound-decides: the same noise, portrait and words without the sound
silent = liveavatar.GenerationConfig(duration_s=0.96, sound_strength=0)
without = pipe.condition(speech, portrait, "smiling", silent)
others = (mouth_opening(decode_exactly(pipe.backend, step.clean))
          for step in pipe.steps(without, config=silent) if step.block == 1)
apart = ((one - other).abs().mean() for one, other in zip(mouths, others, strict=True))
answer = next(index for index, difference in enumerate(apart) if difference > 0.05)    # ends at the first
print(check("sound-decides", answer))

# euler-by-hand: where the step is heading, and how far it comes
x, velocity, now, after = 0.9, 1.6, 0.75, 0.5
answer = x - now * velocity, x + (after - now) * velocity
print(check("euler-by-hand", answer))
