"""Tables: csv and back, selection, and intervals whose answer is known."""

import math

import numpy as np
import pytest

from liveavatar.study.table import Table, bootstrap, independent_factors, read_table
from liveavatar.types import InputError


def rows(values, **more):
    """One row per (portrait, recording, seed, value)."""
    return [{"portrait": str(p), "recording": str(r), "seed": s, "score": v, "after_step": "", "state": "made", **more}
            for p, r, s, v in values]


def crossed(score, people=8, recordings=8, **more):
    return rows([(p, r, 0, score(p, r)) for p in range(people) for r in range(recordings)], **more)


def test_csv_and_back_is_the_same(tmp_path):
    table = Table([{"steps": 3, "size": "96*96", "noise_db": None, "score": 0.25, "after_step": "", "gradients": False},
                   {"steps": 4, "size": "128*128", "noise_db": 5.0, "score": None, "after_step": 0, "gradients": True}])
    again = read_table(table.write(tmp_path / "deep" / "t.csv"))
    assert again.rows == table.rows and again.columns == table.columns


def test_numbers_that_are_names_stay_text(tmp_path):
    again = read_table(Table([{"portrait": "7", "key": "1234", "score": 1}]).write(tmp_path / "t.csv"))
    assert again.rows[0] == {"portrait": "7", "key": "1234", "score": 1}


def test_a_missing_table_is_said_in_words(tmp_path):
    with pytest.raises(InputError, match="holds no table"):
        read_table(tmp_path / "none.csv")


def test_rows_are_chosen_by_what_they_hold():
    table = Table([{"steps": 3, "noise_db": None}, {"steps": 4, "noise_db": 5.0}, {"steps": 4, "noise_db": None}])
    assert len(table.where(steps=4)) == 2
    assert len(table.where(steps=(3, 4), noise_db=None)) == 2
    with pytest.raises(InputError, match="no column 'stepz'"):
        table.where(stepz=3)


def test_finished_guesses_and_failures_are_kept_apart():
    table = Table([{"after_step": "", "state": "made"}, {"after_step": 0, "state": "made"},
                   {"after_step": "", "state": "failed"}])
    assert (len(table.finished), len(table.guesses), len(table.failed)) == (1, 1, 1)


def test_a_mean_lies_in_its_interval_and_the_interval_covers_the_truth():
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(40):
        person, sound = generator.normal(0, 1, 8), generator.normal(0, 1, 8)
        estimate = Table(crossed(lambda p, r, a=person, b=sound: 5 + a[p] + b[r])).estimate("score")
        assert estimate.low <= estimate.mean <= estimate.high
        held += estimate.low <= 5 <= estimate.high
    assert held >= 32                        # 95 % of 40 would be 38


def test_videos_of_one_person_are_no_independent_witnesses():
    by_person = Table(crossed(lambda p, r: float(p))).estimate("score")
    by_video = bootstrap(np.array([float(p) for p in range(8) for _ in range(8)]), [{"seed": i} for i in range(64)])
    assert by_person.high - by_person.low > 2 * (by_video.high - by_video.low)


def test_people_who_always_say_the_same_are_drawn_once():
    paired = rows([(n, n, 0, 1.0) for n in range(5)])
    assert len(independent_factors(paired)) == 1
    assert len(independent_factors(crossed(lambda p, r: 0.0))) == 2
    assert independent_factors(rows([(0, 0, 0, 1.0)])) == []


def test_one_video_has_a_mean_and_no_interval():
    estimate = Table(rows([(0, 0, 0, 2.0)])).estimate("score")
    assert estimate.known and not estimate.bounded and estimate.mean == 2.0
    assert "one video" in str(estimate)
    assert not Table([]).estimate("score").known


def test_differences_are_taken_from_the_same_noise():
    generator = np.random.default_rng(0)
    person = generator.normal(0, 10, 8)
    table = Table(crossed(lambda p, r: person[p], steps=3) + crossed(lambda p, r: person[p] + 0.5, steps=4))
    gain = table.difference("score", {"steps": 3}, {"steps": 4})
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.5, 0.5, 0.5))
    alone = table.by("steps", "score")
    assert alone[4].low < alone[3].high      # taken one by one the two could not be told apart


def test_relative_differences_are_shares_of_the_first():
    table = Table(crossed(lambda p, r: 2.0, steps=3) + crossed(lambda p, r: 3.0, steps=4))
    assert table.difference("score", {"steps": 3}, {"steps": 4}, relative=True).mean == pytest.approx(0.5)


def test_only_cases_seen_everywhere_are_compared_by_eye():
    table = Table(crossed(lambda p, r: 1.0, 3, 1, size="a") + crossed(lambda p, r: 1.0, 2, 1, size="b"))
    assert {row["portrait"] for row in table.shared("size")} == {"0", "1"}
    assert len(table.shared("size")) == 4 and len(Table([]).shared("size")) == 0


def test_few_witnesses_make_wide_intervals():
    few, many = (bootstrap(np.linspace(0, 1, count), [{"seed": n} for n in range(count)]) for count in (2, 20))
    assert few.high - few.low > 5 * (many.high - many.low)


def test_missing_values_are_left_out():
    table = Table(rows([(0, 0, 0, 1.0), (1, 0, 0, 3.0)]) + rows([(2, 0, 0, None)]))
    assert table.estimate("score").mean == 2.0 and table.estimate("score").count == 2
    assert math.isnan(table.values("nothing")[0])
