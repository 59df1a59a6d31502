"""What the numbers and words on the page mean, one sentence each: the one source for all views and reports.

`formula_sheet` puts the terms of the method beside their formulas and the views that show them; docs/formulas.md is
written by `python -m liveavatar.glossary`.
"""

from __future__ import annotations

from dataclasses import dataclass

TERMS: dict[str, str] = {
    # sampling
    "block": "A block is 3 latent frames, 12 video frames or 0.48 s at 25 frames a second; it is denoised as a whole.",
    "step": "One denoising step: the network is asked once, and the latent moves a part of the way from noise to "
            "picture.",
    "latent": "The picture as the model works on it: some channels of numbers for each 8 x 8 pixels of 4 video frames. "
              "The decoder turns it into pictures.",
    "latent_frame": "One point in time of the latent; the decoder makes 4 video frames of it.",
    "channel": "One of the numbers that the latent has for each of its pixels, drawn as a picture of its own: blue is "
               "below zero, red above.",
    "x": "The noisy latent after this step: where the sampler stands, decoded as if it were finished.",
    "guess": "The model's guess of the finished picture at this step: the noisy latent minus sigma times the velocity.",
    "preview": "A quick picture of the latent by one fitted matrix, blurred and an eighth of the size; the real "
               "decoder draws it when the run pauses.",
    "clean": "The finished latent as the network has it in mind at this step: the guess of the page, before it is "
             "decoded.",
    "velocity": "What the network answers: noise minus clean. A step moves the noisy latent against it, towards the "
                "picture.",
    "sigma": "The noise level, before and after this step: 1 is pure noise, 0 is the finished picture.",
    "time_step": "The noise level as the network is told it, from 1000 (pure noise) to 0.",
    "share_of_path": "The part of the way from pure noise to the finished picture that this step covers, measured in "
                     "sigma.",
    "shift": "Moves the noise levels towards 1, so that more steps are spent on noisy pictures; 1 changes nothing.",
    "solver": "How a step moves: Euler goes straight along the velocity, re-noise jumps to the guess and adds fresh "
              "noise.",
    "velocity_norm": "The length of the network's answer, noise minus picture: its root mean square over all values. "
                     "1.4 is noise against a picture of unit variance.",
    "cosine": "How much this step's velocity points the way of the step's before: 1 the same way, 0 at right angles, "
              "-1 against it.",
    "step_time": "How long this step took, in milliseconds: one call of the network.",
    "mean": "The average of the values that are drawn; latents are scaled so that it is near 0.",
    "std": "The standard deviation of the values that are drawn: how far they spread. Latents are scaled to about 1.",
    "skew": "How lopsided the values are: 0 is symmetric, above 0 the large values reach further out.",
    "kurtosis": "How heavy the tails are against a normal distribution: 0 is the same, above 0 there are more extreme "
                "values.",
    "range": "The smallest and the largest of the values that are drawn.",
    "histogram": "How often each value occurs in the latent, from -4 to 4; the line is a normal distribution.",
    # what a step changed
    "change": "Root mean square difference of the decoded pictures, over all pixels of the block: 0 % is equal, 100 % "
              "is black against white.",
    "left": "How far the guess is from the finished picture: root mean square difference, 0 % is finished.",
    "done": "How much of the way from the portrait to the finished picture the guess has gone: 100 % is finished.",
    "detail": "How much fine detail (finer than a pixel at 128 px) the guess has, against the portrait's: 100 % is as "
              "sharp.",
    "mouth_opening": "How far the mouth is open: 0 is closed, 1 is wide open; read off the pictures.",
    "change_scale": "One scale for all steps: no colour is no change, white is the largest. It is not even, so that "
                    "small changes can be seen.",
    # lips
    "open_of": "How far the mouth is open in this frame, of how far it should be for what is heard: 0 is closed, 1 "
               "wide open.",
    "lip_delay": "The delay at which the mouth and the sound agree best; positive: the lips are late.",
    "lip_correlation": "How well the mouth goes with the sound at that delay: 1 is perfectly, 0 not at all.",
    "itu_band": "What people notice of a delay, by ITU-R BT.1359-1: green is not detectable, light green is "
                "acceptable.",
    "agreement": "How near the opening of the mouth is to what is expected: 1 is as expected, 0 as far from it as can "
                 "be.",
    "seen_share": "In how many of these sounds the mouth did what the sound asks for.",
    "at_best": "What even the true mouth reaches: sounds run into each other.",
    # flow matching in two dimensions
    "velocity_field": "Where points of this noise level move: noise minus picture, averaged over all pairs that could "
                      "have met here. In two dimensions it is known exactly.",
    "left_open": "How many modes remain possible once the condition is known: a condition that says everything leaves "
                 "one.",
    "overlap": "The share of two neighbouring modes that lies under both: 0 % is apart, 100 % is the same mode.",
    "step_job": "What a step is taught: to hold the mean of all that is possible, or to match the distribution of the "
                "data.",
    "distillation": "Regression learns the mean, consistency the end of the teacher's path, DMD moves along the real "
                    "score minus the student's own.",
    "student": "A network that was taught to arrive in few steps, four for mini, where the teacher's many steps "
               "arrive, and to be as varied.",
    "teacher": "The network that was trained on data alone: it is right in many small steps, about 32, and blurs in "
               "few.",
    "flow_distance": "How far the points are from the data, in units of the plane (Wasserstein distance): 0 is the "
                     "same distribution.",
    "spread_kept": "The variance of the points over that of the data: 0 % is one point, 100 % is right.",
    "between_modes": "The share of points further than three widths from every mode: where there are no data.",
    "straightness": "The straight distance from noise to end over the length of the path: 100 % is straight, and one "
                    "step suffices.",
    "knee": "The number of steps from which more of them bring the points less than 0.3 nearer to the data.",
    # attention
    "attention": "How much a token takes from each other token: its weights add up to 100 %. A token covers a square "
                 "of the picture in one latent frame.",
    "attention_lag": "Where in time the sound lies that a place attends to, against the middle of its latent frame; "
                     "below 0 ms: it listens to what came before.",
    # comparing
    "same_noise": "Both videos began from the same noise (seed and size are the same), so what differs is due to the "
                  "settings alone.",
    "latent_difference": "How far the noisy latents of the two are apart after a step, against their size: 0 % is the "
                         "same, 140 % has nothing in common.",
    "pixel_difference": "Mean difference of the two videos over all pixels and colours of a block: 0 % is the same, "
                        "100 % black against white.",
    "identity_distance": "How far the colours of skin, hair, shirt and wall are from the portrait's: 0 % is the same; "
                         "read off drawn avatars only.",
    # drift of a stream
    "stream_identity": "How far skin, hair, clothes and wall are from the portrait: 0 is the portrait, 1 as far as "
                       "another person.",
    "stream_colours": "How far the mean colour of the picture has moved since the first block, in levels of 255.",
    "stream_corners": "How well the two upper corners, where nothing moves, keep to the portrait: higher is stiller.",
    "stream_seam": "How much changes where a block begins, against the change within it: 1 is no seam.",
    # the way of the latents
    "path_length": "How far the latents went from the noise to the picture, all steps added up; 1 is the distance of "
                   "noise from zero.",
    "principal_plane": "The two directions in which noisy latents and guesses of these runs vary most (principal "
                       "components).",
    # what is possible
    "still_possible": "The mean of true videos of the same person, sound and wishes, each weighed by how well it fits "
                      "the noise that this step sees: what a perfect network would answer.",
    "remaining": "How many of the drawn videos are still possible once the noise of this step is seen: all before the "
                 "first step, soon one.",
    "from_the_mean": "How far the guess is from the mean of all drawn videos, against how far a true video is: 0 is "
                     "the mean, 1 is as far as a sample.",
    # speed
    "x_realtime": "Seconds of video per second of work: above 1 it is made faster than it is played.",
    "first_picture": "Seconds of work from the click until the first block could be shown.",
    # memory and caches
    "ring": "The cache of one noise level: keys and values of the newest latent frames; the oldest are overwritten.",
    "sink": "The portrait's keys and values. They stand before the ring and are never overwritten, so that every block "
            "sees who speaks.",
    "cache_bytes": "What all caches hold together: each noise level remembers the blocks at its own noise.",
    "process_memory": "All main memory of the Python process, as the system counts it (resident set).",
    "allocated_memory": "GPU memory that tensors of this process hold now.",
    "reserved_memory": "GPU memory that this process has asked for and keeps: what tensors hold, and room between "
                       "them.",
    "card_memory": "All memory in use on the card, by whatever program.",
    "expected_memory": "What was predicted before the run, from what the process held and from the sizes of weights, "
                       "caches and pictures. What views of the page decode and read comes on top.",
}


@dataclass(frozen=True)
class Formula:
    """One term of the method, as it stands on the formula sheet."""

    term: str                # of TERMS
    formula: str             # in TeX
    view: str                # the view that shows it
    lesson: str              # the notebook in which that view is


FORMULAS = (
    Formula("x", r"x = (1 - \sigma)\,\text{clean} + \sigma\,\text{noise}", "StepGrid", "05_caches"),
    Formula("clean", r"\text{clean} = x - \sigma\,v", "StepGrid", "05_caches"),
    Formula("velocity", r"v = \text{noise} - \text{clean}, \quad x' = x + (\sigma' - \sigma)\,v", "FlowLab",
            "04_flow_matching"),
    Formula("sigma", r"1 = \sigma_0 > \sigma_1 > \dots > \sigma_S = 0", "ScheduleView", "03_four_steps"),
    Formula("shift", r"\sigma' = \dfrac{s\,\sigma}{1 + (s - 1)\,\sigma}", "ScheduleView", "03_four_steps"),
    Formula("block", r"3 \text{ latent frames} = 12 \text{ frames} = 0.48\ \text{s}", "StepGrid", "05_caches"),
    Formula("ring", r"\text{slot} = f \bmod \text{capacity}", "CacheView", "05_caches"),
    Formula("sink", r"\text{keys} = [\,\text{sink} \mid \text{ring}\,]", "CacheView", "05_caches"),
    Formula("student", r"\nabla = \text{fake score} - \text{real score}", "FlowLab", "04_flow_matching"),
    Formula("teacher", r"v = v_\text{without} + g\,(v_\text{with} - v_\text{without})", "FlowLab", "04_flow_matching"),
)


def explain(term: str) -> str:
    """Return the sentence of a term. Raises KeyError if the glossary has none."""
    return TERMS[term]


@dataclass(frozen=True)
class FormulaSheet:
    """The terms of the method with formula, meaning and view; a notebook shows it as a table."""

    notebooks: str = ""      # how the notebooks are reached from where the sheet is shown: "../notebooks/"

    def __str__(self) -> str:
        rows = [f"| **{one.term}** | ${one.formula}$ | {explain(one.term)} | "
                f"[{one.view}]({self.notebooks}{one.lesson}.ipynb) |" for one in FORMULAS]
        return "\n".join(["| term | formula | what it is | see it in |", "|---|---|---|---|", *rows])

    def _repr_markdown_(self) -> str:
        """Return the table as Markdown with formulas in TeX, which Jupyter and GitHub draw."""
        return str(self)


def formula_sheet(notebooks: str = "") -> FormulaSheet:
    """Return the formula sheet. notebooks: what stands before the names of notebooks in its links"""
    return FormulaSheet(notebooks)


def formula_page() -> str:
    """Return docs/formulas.md."""
    return ("# Formula sheet\n\nThe terms of the method, on one page, written by `python -m liveavatar.glossary > "
            f"docs/formulas.md`.\n\n{formula_sheet('../notebooks/')}\n\n"
            "$\\sigma$ is the noise level before a step, $\\sigma'$ after it; $s$ the shift, $g$ the guidance scale, "
            "$S$ the number of steps, $f$ the number of a latent frame. The student's gradient is that of distribution "
            "matching: what it makes moves against it.\n")


if __name__ == "__main__":
    print(formula_page(), end="")
