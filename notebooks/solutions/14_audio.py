"""Solutions of 14_audio; alone: python notebooks/solutions/14_audio.py"""

from liveavatar.audio import clean
from liveavatar.lessons import check
from liveavatar.study import figures
from liveavatar.study.materials import recording, with_noise
from liveavatar.study.measures import usual

# nearer-by
truth = recording("welcome")
noisy = with_noise(truth, 10.0)
answer = figures.nearness_db(truth, clean(noisy, "wiener")) - figures.nearness_db(truth, noisy)
print(check("nearer-by", answer))

# won-back: the gain as a share of the loss
rows = usual(figures.results().table, noise_db=..., clean=...).where(model="student", steps=4).shared("noise_db")
clean_sound, noisy_sound, cleaned = (
    rows.where(noise_db=level, clean=kind).estimate("lips.correlation").mean
    for level, kind in ((None, ""), (0.0, ""), (0.0, "wiener")))
answer = (cleaned - noisy_sound) / (clean_sound - noisy_sound)
print(check("won-back", answer))
