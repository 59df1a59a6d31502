"""The study: which videos it takes to say whether four steps are the right number, and what else the article claims.

    steps       1 to 8 steps, student and teacher, everybody saying everything
    schedules   where the steps are put: trained, released and linear times, Euler and re-noise
    sizes       small, usual and large pictures at 3 to 5 steps
    prompts     rich and poor words at few and many steps
    sounds      noise at 10, 5 and 0 dB, as it is and cleaned in two ways

The voices and sentences of RECORDINGS were kept out of mini's training, and so was every portrait (a test sees to it).
They were spoken once, by `materials.keep_recordings(RECORDINGS)`, and are kept in `recordings/`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from liveavatar.study.grid import Cell, Grid

RICH = "A friendly person, smiling, gesturing with both hands, lively, in warm light"
POOR = "A person talking"

RECORDINGS = (
    "flite:awb|My brother bought a purple umbrella before the rain began.",
    "espeak:en-us+f4|Please put both maps on the kitchen table by five.",
    "espeak:en-gb-x-rp|We will move the piano into the warmer room tomorrow.",
    "espeak:en-us+m6|Few people believe how fast the big boat came over the foam.",
    "espeak:en-us+klatt3|Bob may improve if somebody proves him wrong about the move.",
    "espeak:en-gb-scotland+Annie|Who would choose blue shoes for a long walk home?",
    "espeak:en-us+david|Every member of the family packed a box of apples.",
    "espeak:en-us+linda|The mayor opened the bridge and waved for a minute.",
)
FIRST_PORTRAIT = 1001


@dataclass(frozen=True)
class Scale:
    """Describe how much of everything."""

    people: int = 8
    recordings: int = 8
    seeds: int = 2                                # of the prompts part
    seconds: float = 3.0
    steps: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    teacher_steps: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    many_steps: tuple[int, ...] = (16, 32)        # of the teacher alone
    schedule_steps: tuple[int, ...] = (3, 4, 5, 6)
    prompt_steps: tuple[int, ...] = (3, 4, 5, 6)
    by_step: tuple[int, ...] = (3, 4, 6, 8)       # whose guesses are measured
    sizes: tuple[str, ...] = ("192*192", "256*256", "320*320")
    sound_steps: tuple[int, ...] = (3, 4, 6)
    noises_db: tuple[float, ...] = (10.0, 5.0, 0.0)

    @property
    def sounds(self) -> tuple[dict, ...]:
        """Clean and noisy, left alone and cleaned."""
        return tuple({"noise_db": db, "clean": clean} for db in (None, *self.noises_db)
                     for clean in ("", "wiener", "noisereduce"))


FULL = Scale()
SMALL = Scale(2, 2, 1, 2.0, (1, 2, 3, 4, 5, 6, 8), (2, 4, 8), (16,), (4,), (4, 6), (4,), ("192*192", "256*256"), (4,),
              (0.0,))
SMOKE = Scale(1, 1, 1, 1.0, (1, 4), (1, 4), (), (), (), (4,), (), ())
SCALES = {"full": FULL, "small": SMALL, "smoke": SMOKE}


def cells_of(scale: Scale) -> tuple[Cell, ...]:
    """Return every video of the study, each once."""
    portraits = tuple(str(FIRST_PORTRAIT + number) for number in range(scale.people))
    recordings = RECORDINGS[:scale.recordings]
    pairs = tuple({"portrait": portraits[number % len(portraits)], "recording": recording}
                  for number, recording in enumerate(recordings))
    common = {"seconds": scale.seconds}

    def numbers_of_steps(who: tuple[dict, ...]) -> list[Grid]:
        return [Grid(who, model="student", steps=scale.steps, **common),
                Grid(who, model="teacher", steps=scale.teacher_steps, **common)]

    grids = numbers_of_steps(pairs)
    if scale.by_step:
        grids.append(Grid(pairs, model=("student", "teacher"), steps=scale.by_step, by_step=True, **common))
        grids.append(Grid(pairs, steps=4, schedule="released", by_step=True, **common))
    if scale.many_steps:
        grids.append(Grid(pairs, model="teacher", steps=scale.many_steps, **common))
    if scale.schedule_steps:
        grids.append(Grid(pairs, steps=scale.schedule_steps, schedule=("trained", "released", "linear"),
                          solver=("euler", "renoise"), **common))
    if scale.prompt_steps:
        seeds = tuple(range(scale.seeds))
        grids.append(Grid(pairs, steps=scale.prompt_steps, prompt=(RICH, POOR), seed=seeds, **common))
    if scale.sizes:
        grids.append(Grid(pairs, steps=(3, 4, 5), size=scale.sizes, **common))
    if scale.sound_steps:
        spoiled = [pair | sound for pair in pairs for sound in scale.sounds]
        grids.append(Grid(spoiled, steps=scale.sound_steps, **common))
    for portrait in portraits:                    # and everybody saying everything
        grids += numbers_of_steps(tuple({"portrait": portrait, "recording": one} for one in recordings))
    return without_doubles(cell for grid in grids for cell in grid.cells())


def without_doubles(cells) -> tuple[Cell, ...]:
    """Leave out what is wanted with the guesses after each step and without them: with them is enough. What matters
    most stays in front, so that a study which is cut off says something."""
    kept: dict[Cell, Cell] = {}
    for cell in cells:
        plain = replace(cell, by_step=False)
        if plain not in kept or cell.by_step:
            kept[plain] = cell
    return tuple(kept.values())
