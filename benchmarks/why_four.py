"""The answer to "why four?" in ten lines, from the study's table: for the README.

    python benchmarks/why_four.py --picture docs/why_four.png

Every figure and every verdict is computed from benchmarks/results; nothing is typed. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from liveavatar.study import figures, results
from liveavatar.study.claims import CLAIMS, REFUTED, Verdict, judge_all
from liveavatar.study.measures import CACHES, FOLLOWS, LIPS, PSNR, TEXTURE, WORK, Measure, reported, usual
from liveavatar.study.table import Estimate, Table

WRONG = ("lips-3-4", "lips-size", "psnr-3-4", "texture-37", "knee", "flicker", "even-steps", "last-step", "unshard",
         "time-25-percent", "psnr-6-percent", "time-no-rest", "few-steps", "teacher-needs-many", "poor-drifts",
         "cleaning-helps", "dmd-name")               # the most telling first
SHOWN = 4


def answer(found: figures.Results) -> Iterator[str]:
    """Ten lines."""
    rows, verdicts = usual(found.table), judge_all(found.table)
    student, teacher = (rows.where(model=model) for model in ("student", "teacher"))
    people, recordings = (len(student.distinct(factor)) for factor in ("portrait", "recording"))
    most, many = max(figures.up_to_8(student).distinct("steps")), max(teacher.distinct("steps"))
    said = {row["steps"]: row for row in reported()["steps"]["rows"]}
    yield (f"{found.about['videos']} videos of mini, {people} people and {recordings} unseen recordings, the same "
           "noise at every number of steps; in brackets 95 % intervals.")
    yield ""
    yield (f"- **From 3 to 4 steps** {changes(student, (LIPS, PSNR, TEXTURE), 3, 4)}. The article has "
           f"{said[3]['lip_error_frames']} to {said[4]['lip_error_frames']} frames and {said[3]['face_psnr_db']} to "
           f"{said[4]['face_psnr_db']} dB.")
    yield f"- **From 1 to 4** {changes(student, (FOLLOWS, PSNR, TEXTURE), 1, 4)}."
    yield f"- **From 4 to {most}** {changes(student, (LIPS, PSNR, TEXTURE), 4, most)}."
    yield f"- **The knee**: {verdicts['knee'].why}."
    yield f"- **Without distillation**, from 4 to {many} steps, {changes(teacher, (LIPS, PSNR, TEXTURE), 4, many)}."
    work, caches = (student.where(steps=4).estimate(measure.column).mean for measure in (WORK, CACHES))
    yield (f"- **What a step costs**: {verdicts['time-line'].why}; at 4 steps {work:.3g} ms of work a frame, and "
           f"{caches:.0f} MiB of caches.")
    yield f"- **The released times** are not even: {verdicts['even-steps'].why}."
    counts = Counter(verdict.verdict for verdict in verdicts.values())
    yield (f"- **The article**: of {len(verdicts)} claims "
           f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}. Wrong, for instance: "
           f"{' '.join(wrong(verdicts))}")


def changes(rows: Table, measures: tuple[Measure, ...], before: int, after: int) -> str:
    """"lip error falls by 0.3 frames (0.1 to 0.5)", or that nothing that matters changes."""
    return "; ".join(change(measure, rows.difference(measure.column, {"steps": before}, {"steps": after}))
                     for measure in measures)


def change(measure: Measure, more: Estimate) -> str:
    if not more.bounded:
        return f"{measure.label}: too few videos"
    low, high = sorted((abs(more.low), abs(more.high)))
    interval = f"{more.low:+.2g} to {more.high:+.2g}"
    if max(low, high) < measure.worth:
        return f"{measure.label} stays ({interval} {measure.unit})"
    if more.low < 0 < more.high:
        return f"{measure.label} may change or not ({interval} {measure.unit})"
    verb = "rises" if more.mean > 0 else "falls"
    return f"{measure.label} {verb} by {abs(more.mean):.2g} ({low:.2g} to {high:.2g}) {measure.unit}".rstrip()


def wrong(verdicts: dict[str, Verdict]) -> Iterator[str]:
    texts = {claim.name: claim.text for claim in CLAIMS}
    refuted = [name for name in WRONG if verdicts[name].verdict == REFUTED][:SHOWN]
    for name in refuted:
        yield f"\"{texts[name]}\" ({verdicts[name].why})."


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=results.RESULTS, help="folder with study.csv")
    parser.add_argument("--picture", type=Path, help="where the headline figure goes")
    arguments = parser.parse_args(given)
    found = figures.results(arguments.results)
    print("\n".join(answer(found)))
    print(f"\n{found.origin}")
    if arguments.picture:
        print(figures.table_1(found).save(arguments.picture))


if __name__ == "__main__":
    main()
