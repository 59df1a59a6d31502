"""Exercises of the lessons 11 to 18: what was found in the study, and in other models."""

from __future__ import annotations

from liveavatar.lessons.answers import number, numbers
from liveavatar.lessons.exercise import Exercise

FINDINGS = (
    # ------------------------------------------------------------------------------------------- 11 why four
    Exercise(
        "one-step-again", "why_four",
        number(0, slips={3: "the last guess is the one that differs most; which one is the same?",
                         1: "steps are counted from 0"}),
        hints=("pairs[1] has made one step, pairs[4] four. Compare step_record(0, 0).clean of the first with "
               "step_record(0, step).clean of the second, for the steps 0 to 3.",
               "(one - other).abs().max() of the two guesses is 0 for one of the four steps."),
        right="The guess after step 0: both began with the same noise and asked the network at the same noise level. "
              "So the first point of every curve \"after each step\" is the one-step video."),
    Exercise(
        "psnr-peak", "why_four",
        number(2, slips={4: "look at the second panel of Table 1 again: is 4 its top?",
                         1: "one step is the most blurred; two are better",
                         8: "that is the fewest decibels of all"}),
        hints=("rows.by(\"steps\", \"texture.psnr_db\") answers {steps: estimate}, and an estimate has a mean.",
               "max(means, key=means.get) of a dict {steps: mean}."),
        right="Two steps, though the picture still gets sharper: PSNR rewards the mean of all likely pictures, and "
              "every step after the second decides more than the mean."),
    Exercise(
        "texture-of-a-fourth", "why_four",
        number(-0.011, within=0.004, slips={0.37: "that is the article's figure, of another model",
                                            -0.0092: "that is the difference itself; as a share of 3 steps it is more",
                                            0.011: "the size is right: is there more texture with 4 steps, or less?"}),
        hints=("rows.difference(\"texture.kept\", {\"steps\": 3}, {\"steps\": 4}, relative=True) compares person by "
               "person.",
               "Take its mean, and look at its interval: .low and .high."),
        right="About one percent less, and the interval goes from 5 % less to 4 % more: in mini 0.1 nobody could tell "
              "three steps from four by texture. The article says 37 % more, of the 14B model; nobody measured it."),
    Exercise(
        "perfect-answer", "why_four",
        number(0.664, within=0.005, slips={0: "that is the mean before x is seen; x is nearer to one of the two",
                                           1: "the other one is less likely, but not impossible",
                                           0.8: "that is x / (1 - sigma): what x says without knowing what is possible",
                                           0.832: "that is the weight of 1; the mean also counts -1"}),
        hints=("x = (1 - sigma) c + sigma n, so the weight of c is exp(-(x - (1 - sigma) c)^2 / (2 sigma^2)).",
               "The two weights, divided by their sum, are 0.168 and 0.832."),
        right="0.66, between the two: no possible video has that value. A network that answers with the mean of what "
              "is possible blurs, until the noise leaves one video."),
    # ------------------------------------------------------------------------------------------- 12 resolution
    Exercise(
        "steps-on-an-h200", "resolution",
        number(10, slips={11: "141 GB are 141e9 bytes, which are 131.3 GiB",
                          7: "that is how many more than four fit",
                          4: "that is for 80 GB; an H200 has 141"}),
        hints=("An H200 has 141e9 bytes; divide by 2**30 for GiB. needed_gib(\"704*384\", steps) is the least.",
               "Try steps from 4 up, and take the last that is below 131.3 GiB."),
        right="Ten, if nothing but weights and caches were on the card: each step costs one cache of 9.7 GiB. What a "
              "larger card buys is steps, a longer ring, or a larger picture."),
    Exercise(
        "twice-the-sides", "resolution",
        number(6.56, within=0.1, slips={4: "that would hold for the weights alone; attention grows faster",
                                        16: "that is attention alone; the weights grow with the tokens",
                                        2: "twice the width and twice the height"}),
        hints=("clip_petaflop(size, frames=48, steps=4) of liveavatar.study.released counts the operations of a clip.",
               "Divide that of \"1408*768\" by that of \"704*384\"."),
        right="6.6 times: four times the tokens meet the weights, but every token attends to four times as many "
              "others, which makes sixteen. The larger the picture, the more attention is what costs."),
    # ------------------------------------------------------------------------------------------- 13 prompts
    Exercise(
        "words-ignored", "prompts",
        number(4, slips={0: "are \"old\" or \"hat\" among what mini understands? Look at `unknown`",
                         8: "that is all words which carry a wish; only those that change nothing are asked for",
                         13: "that is all words of the prompt"}),
        hints=("parse_prompt(text) has slots, what was understood, and unknown, what changed nothing.",
               "len(parse_prompt(text).unknown)."),
        right="old, man, red, hat: mini takes the person from the portrait and knows no words for people. Such words "
              "cannot make its prompt richer, while the 14B model reads them all."),
    Exercise(
        "possible-prompts", "prompts",
        number(500, slips={192: "that is with a wish in each slot; a slot may also be left out",
                           15: "that is how many values there are in all; they can be combined",
                           19: "that is the sum; choices multiply"}),
        hints=("VOCABULARY of liveavatar.conditions is {slot: {value: phrases}}. How many choices has each slot, with "
               "\"nothing said\" as one of them?",
               "Multiply len(values) + 1 over all slots, by math.prod."),
        right="5 x 5 x 5 x 4 = 500 different prompts; all others are one of these. So \"rich against poor\" in mini is "
              "a question of how many slots are fixed, which is less than the article means."),
    # ------------------------------------------------------------------------------------------- 14 audio
    Exercise(
        "nearer-by", "audio",
        number(7.3, within=0.5, slips={-7.3: "the size is right; nearer is a gain, so above 0",
                                       16: "that is how near the cleaned one is; how near was the noisy one?",
                                       8.7: "that is how near the noisy one is",
                                       -5.7: "that is the article's recipe: it takes the recording further away"}),
        hints=("noisy = with_noise(truth, 10.0); nearness_db(truth, noisy) is how near it is before cleaning.",
               "nearness_db(truth, clean(noisy, \"wiener\")) minus that."),
        right="7.3 dB nearer. The article's recipe goes the other way, by about 6 dB: what it takes from the voice is "
              "more than what is gained from the noise. Does that show in the lips? Not clearly: see the next one."),
    Exercise(
        "won-back", "audio",
        number(0.172, within=0.02, slips={0.033: "that is the gain itself; which share is it of what noise took?",
                                          0.828: "that is the share which stays lost",
                                          0.817: "that is cleaned over clean; what noise took is clean minus noisy"}),
        hints=("The means of lips.correlation at 4 steps: without noise and uncleaned, at 0 dB uncleaned, at 0 dB with "
               "\"wiener\".",
               "(cleaned - noisy) / (clean - noisy)."),
        right="About a sixth, of eight videos, in mini 0.1. The sound comes nearer by 6 dB, the lips hardly: a filter "
              "takes noise away, it does not bring back what the noise has masked. And cleaning a clean one costs."),
    # ------------------------------------------------------------------------------------------- 15 deadlines
    Exercise(
        "head-start", "deadlines",
        number(17, within=0.8, slips={76.75: "that is how long the making takes; playing goes on meanwhile",
                                      16.75 / 2: "each of 125 blocks is 134 ms late, not every other one",
                                      0.134: "that is what one block loses; a minute has 125 blocks"}),
        hints=("A minute has 60 / 0.48 = 125 blocks. Making them takes 125 * 0.614 s, showing them 60 s.",
               "The viewer must wait as long as making takes longer than showing."),
        right="Nearly 17 s of waiting for a minute that never stops, and 17 minutes for an hour: being a quarter too "
              "slow cannot be bridged for long. With 379 ms a block, on two cards, one block of waiting is enough."),
    Exercise(
        "cost-of-a-step", "deadlines",
        number(4.97, within=0.15, slips={13.7: "that is what every picture costs besides, whatever the steps",
                                         8.5: "that is all of the work over 4 steps; the decoder is in it, too",
                                         34: "that is the work of a picture at 4 steps"}),
        hints=("work[steps] is the mean work per picture in ms. How much is added from one step to the next?",
               "numpy.polyfit(steps, ms, 1) fits a straight line and answers (slope, intercept)."),
        right="5 ms for each step and 14 ms besides, for decoding above all. So the fifth step costs mini 14 % more, "
              "not 25 %: decoding is the same at any number of steps."),
    # ------------------------------------------------------------------------------------------- 16 the real model
    Exercise(
        "tokens-of-a-frame", "real_model",
        number(1056, slips={4224: "that is the pixels of the latent; a token covers 2 x 2 of them",
                            270336: "that is pixels; a token covers 16 x 16 of them",
                            16: "that is the tiny one at 64*64"}),
        hints=("run.rings[0].frame_tokens is 16 at 64*64 for the tiny one: how many pixels wide is a token?",
               "A token covers 16 x 16 pixels: 704 / 16 times 384 / 16."),
        right="44 x 24 tokens. All of them attend to all others of their block and to the ring, which is why size is "
              "what costs most: twice the width and height is four times the tokens."),
    Exercise(
        "cache-of-14b", "real_model",
        number(9.67, within=0.1, slips={4.83: "count keys and values, both, of 2 bytes each",
                                        10.38: "those are billions of bytes; a GiB has 2 to the power of 30",
                                        38.7: "that is all four noise levels; one is asked for"}),
        hints=("Entries in a ring: 12 latent frames times 1056 tokens. Each has a key and a value in every layer.",
               "12 * 1056 * 2 * 40 * 5120 numbers, 2 bytes each; divide by 2**30."),
        right="9.67 GiB for one noise level, and there are four of them beside 30 GiB of weights: not the network "
              "fills the card, but its memory of the past. In fp8 it is half."),
    # ------------------------------------------------------------------------------------------- 17 claims
    Exercise(
        "half-a-decibel", "claims",
        number(0.109, within=0.004, slips={0.016: "that compares decibels as if they were lengths; they are logarithms",
                                           0.122: "that is how much larger the error was; how much smaller is it now?",
                                           0.056: "that is the amplitude; the squared error is asked for",
                                           10.9: "as a share: 10.9 % is 0.109",
                                           0.06: "that is the article's figure"}),
        hints=("PSNR is 10 * log10(1 / squared error). How does the squared error change when PSNR grows by 0.5 dB?",
               "1 - 10 ** (-0.5 / 10)."),
        right="11 % less squared error, where the article speaks of 6 % more PSNR and its own table says 1.6 %. A "
              "percent of decibels means nothing, since 0 dB is no zero: give decibels, or the error."),
    Exercise(
        "two-people", "claims",
        number(21, within=1, slips={12: "that is with all eight people",
                                    9: "that is how many more there are than with eight people",
                                    45: "that is the number of all claims"}),
        hints=("few = found.table.where(portrait=(\"1001\", \"1002\")); judge_all(few) answers {name: verdict}, and "
               "verdict.mini is what mini says.",
               "Count the verdicts whose mini equals TOO_FEW of liveavatar.study.claims."),
        right="21 instead of 12. The rows are as good as before, but two people say little about others, so intervals "
              "are wide and the judges do not answer. More seeds of the same two would not help."),
    # ------------------------------------------------------------------------------------------- 18 any pipeline
    Exercise(
        "network-calls", "any_pipeline",
        number(10, slips={5: "that is the steps; with guidance above 1 the network is called more often",
                          15: "are calls of the run before still counted? Make a new counter"}),
        hints=("A MagicMock(return_value=None) can be a forward hook, and counts in call_count how often it was "
               "called.",
               "Call the pipeline with guidance_scale=5.0 and negative_prompt_embeds=torch.zeros_like(words)."),
        right="Ten: each step asks the network twice, with the words and without them. A distilled student has "
              "learned the answer of both in one, which halves the work."),
    Exercise(
        "last-shares", "any_pipeline",
        numbers((0.009, 0.43), within=0.005,
                slips={(0.43, 0.009): "the other way round: Euler first",
                       (0.991, 0.57): "that is how far the steps before have come; the last one does the rest"}),
        hints=("run.info.sigmas are the noise levels of the first run, other.info.sigmas those of the second.",
               "The last step goes from sigmas[-2] to sigmas[-1], which is 0."),
        right="With the same number of steps Euler's schedule leaves its last one 0.9 % of the way, UniPC's 43 %. So "
              "\"five steps\" says little until one knows where they are."),
)
