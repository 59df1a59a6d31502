"""Solutions of 16_real_model; alone: python notebooks/solutions/16_real_model.py"""

from liveavatar.lessons import check

# tokens-of-a-frame: 16 tokens at 64*64 are 4 x 4, so one of them is 16 pixels wide
side = 64 // 16 ** 0.5
answer = (704 / side) * (384 / side)
print(check("tokens-of-a-frame", answer))

# cache-of-14b: 12 latent frames, a key and a value, 40 layers, 5120 numbers of 2 bytes
answer = 12 * 1056 * 2 * 40 * 5120 * 2 / 2**30
print(check("cache-of-14b", answer))
