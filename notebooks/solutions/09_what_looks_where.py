"""Solutions of 09_what_looks_where; alone: python notebooks/solutions/09_what_looks_where.py"""

import liveavatar
from liveavatar import inspect
from liveavatar.lessons import check

# The lesson's run, one block shorter
pipe = liveavatar.load("mini")
run = liveavatar.Run.of(pipe, liveavatar.samples()["welcome"], liveavatar.avatar(seed=7), "smiling, waving",
                        liveavatar.GenerationConfig(duration_s=0.96))
with inspect.record(pipe, layers=[2]) as seen:
    run.start()
    run.result()

# tokens-seen: (heads, places that look, places that are seen)
answer = seen.attention(block=1, step=3, layer=2).weights.shape[2]
print(check("tokens-seen", answer))

# who-listens: how much each place gives to the four sounds, without the learned token
weights = seen.attention(block=1, step=3, layer=2, part="sound").weights
listening = weights[:, :, :4].sum(2).mean(0).reshape(3, 8, 8).mean(0)
answer = divmod(int(listening.argmax()), 8)
print(check("who-listens", answer))

# portrait-step
shares = [seen.attention(1, step, 2).shares()["portrait"].mean() for step in range(4)]
answer = shares.index(max(shares))
print(check("portrait-step", answer))
