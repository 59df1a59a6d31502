"""Claims: verdicts follow the data. Turn the data round and the verdict turns."""

import numpy as np
import pytest

from liveavatar.study.claims import (
    CLAIMS,
    CONFIRMED,
    REFUTED,
    UNTESTED,
    VERDICTS,
    Evidence,
    judge_all,
)
from liveavatar.study.claims.choices import share_of_columns
from liveavatar.study.measures import ALL, USUAL, reported
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.released import cache_gib, clip_petaflop, frame_tokens, needed_gib, released_shape, weights_gib
from liveavatar.study.table import Table

BY_NAME = {claim.name: claim for claim in CLAIMS}


def made(column, values, people=8, recordings=8, noise=0.02, **settings):
    """Rows of the student: {steps: mean}, for people x recordings, with a little scatter of their own."""
    generator = np.random.default_rng(1)
    own = generator.normal(0, 0.3, (people, recordings))
    return [USUAL | {"size": "128*128", "model": "student", "state": "made", "after_step": "", "backend": "mini",
                     "device": "cpu", "portrait": str(p), "recording": str(r), "steps": steps,
                     column: float(mean + own[p, r] + generator.normal(0, noise))} | settings
            for steps, mean in values.items() for p in range(people) for r in range(recordings)]


def judge(name, rows):
    return BY_NAME[name].judge(Evidence(Table(rows)))


def test_there_are_claims_enough_and_each_has_a_name_of_its_own():
    assert len(CLAIMS) >= 24 and len(BY_NAME) == len(CLAIMS)
    assert all(claim.text and claim.test and claim.part for claim in CLAIMS)


@pytest.mark.parametrize("rows", [[], made("lips.error_frames", {4: 1.0}, 1, 1)], ids=["no results", "one video"])
def test_too_few_results_are_no_verdict(rows):
    verdicts = judge_all(Table(rows))
    assert list(verdicts) == [claim.name for claim in CLAIMS]
    assert all(verdict.verdict in VERDICTS and verdict.why for verdict in verdicts.values())
    for name in ("lips-3-4", "psnr-3-4", "knee", "noise-hurts", "poor-drifts", "flicker", "hands"):
        assert verdicts[name].verdict == UNTESTED


LIPS = "lips.error_frames"


@pytest.mark.parametrize("three, four, verdict", [(3.2, 1.8, CONFIRMED), (1.8, 3.2, REFUTED), (1.0, 1.0, REFUTED),
                                                  (1.1, 1.0, REFUTED)])
def test_a_gain_must_be_there_and_must_matter(three, four, verdict):
    assert judge("lips-3-4", made(LIPS, {3: three, 4: four})).verdict == verdict


def test_a_loss_is_called_one():
    worse = judge("lips-3-4", made(LIPS, {3: 1.8, 4: 3.2})).why
    assert "4 steps is worse than 3 steps by 1.4" in worse and "better" not in worse
    alike = judge("lips-3-4", made(LIPS, {3: 1.0, 4: 1.0})).why
    assert "4 steps differs from 3 steps by" in alike and "less than matters" in alike


def test_two_scattered_videos_decide_nothing():
    assert judge("lips-3-4", made(LIPS, {3: 1.2, 4: 1.0}, 2, 1, noise=0.5)).verdict == UNTESTED


@pytest.mark.parametrize("six, verdict", [(1.0, CONFIRMED), (0.5, REFUTED)])
def test_gaining_nothing_is_the_other_way_round(six, verdict):
    assert judge("lips-above-4", made(LIPS, {4: 1.0, 6: six})).verdict == verdict


@pytest.mark.parametrize("mean, verdict", [(1.8, CONFIRMED), (0.3, REFUTED)])
def test_a_reported_figure_is_held_against_the_interval(mean, verdict):
    assert judge("lips-size", made(LIPS, {4: mean})).verdict == verdict


def test_a_wide_interval_confirms_nothing():
    scattered = made(LIPS, {4: 1.8}, 3, 1, noise=2.0)
    assert judge("lips-size", scattered).verdict == UNTESTED


@pytest.mark.parametrize("last, verdict", [(4, CONFIRMED), (2, REFUTED), (6, REFUTED)])
def test_the_knee_is_where_gains_end(last, verdict):
    course = {steps: 1.0 + 0.8 * max(last - steps, 0) for steps in range(1, 9)}
    found = judge("knee", made(LIPS, course))
    assert found.verdict == verdict and found.numbers["knee"] == last


@pytest.mark.parametrize("line, straight, share", [
    (lambda steps: 10.0 + 10.0 * steps, CONFIRMED, REFUTED), (lambda steps: 20.0 * steps, CONFIRMED, CONFIRMED),
    (lambda steps: 50.0 + 20.0 * (steps % 2), REFUTED, REFUTED)])
def test_time_is_a_line_or_is_not(line, straight, share):
    rows = made("work_ms_per_frame", {steps: line(steps) for steps in range(1, 9)})
    assert judge("time-line", rows).verdict == straight
    assert judge("time-25-percent", rows).verdict == share


def test_memory_that_grows_by_caches_refutes_the_unshard_story():
    rows = made("caches_mib", {steps: 10.0 * steps for steps in (2, 3, 4)}, noise=0)
    rows = [row | {"caches_mib": 10.0 * row["steps"], "weights_mib": 64.0} for row in rows]
    assert judge("unshard", rows).verdict == REFUTED
    more = [row | {"weights_mib": 64.0 + row["steps"]} for row in rows]
    assert judge("unshard", more).verdict == CONFIRMED


@pytest.mark.parametrize("carried, verdict", [(False, REFUTED), (True, CONFIRMED)])
def test_gradients_are_looked_for(carried, verdict):
    assert judge("gradients", made(LIPS, {4: 1.0}, gradients=carried)).verdict == verdict


@pytest.mark.parametrize("poor, verdict", [(0.05, CONFIRMED), (0.01, REFUTED)])
def test_drift_of_poor_prompts(poor, verdict):
    rows = made("identity.drift", {4: 0.01}, noise=1e-4, prompt=RICH) \
        + made("identity.drift", {4: poor}, noise=1e-4, prompt=POOR)
    assert judge("poor-drifts", rows).verdict == verdict


def test_noise_and_cleaning():
    quiet, noisy, cleaned = (made(LIPS, {4: mean}, noise_db=level, clean=clean)
                             for mean, level, clean in ((1.0, None, ""), (4.0, 0.0, ""), (1.5, 0.0, "noisereduce")))
    assert judge("noise-hurts", quiet + noisy).verdict == CONFIRMED
    assert judge("cleaning-helps", noisy + cleaned).verdict == CONFIRMED
    assert judge("cleaning-helps", noisy + [row | {"clean": "noisereduce"} for row in noisy]).verdict == REFUTED


def test_shares_of_variance_are_those_of_the_table():
    assert share_of_columns(np.array([[0.0, 2.0], [0.0, 2.0]])) == pytest.approx(1.0)
    assert share_of_columns(np.array([[0.0, 0.0], [2.0, 2.0]])) == pytest.approx(0.0)
    assert share_of_columns(np.array([[0.0, 2.0], [2.0, 4.0]])) == pytest.approx(0.5)


def test_claims_about_machines_that_were_not_there_say_what_is_missing():
    verdict = judge("24gb", made(LIPS, {4: 1.0}))
    assert verdict.verdict == UNTESTED and "24 GB" in verdict.why and "mini on cpu" in verdict.why


def test_running_out_of_memory_is_judged_when_it_happens():
    failed = made(LIPS, {4: 1.0}, 1, 1, state="failed", error="RuntimeError: CUDA out of memory")
    assert judge("oom", failed + made(LIPS, {3: 1.0})).verdict == REFUTED


# ------------------------------------------------------------------------------------------- what follows from shapes

def test_the_released_network_weighs_what_it_weighs():
    assert released_shape().parameters == pytest.approx(16.296e9, rel=1e-3)
    assert weights_gib() == pytest.approx(30.35, abs=0.05)
    assert frame_tokens("704*384") == 1056
    assert cache_gib("704*384") == pytest.approx(9.67, abs=0.01)          # 12672 tokens of 819200 bytes


def test_one_step_more_is_one_cache_more():
    assert needed_gib("704*384", 5) - needed_gib("704*384", 4) == pytest.approx(cache_gib("704*384"))


def test_operations_grow_with_steps_and_stay_below_what_was_counted_elsewhere():
    """116 of the 123 Tflop of one forward are weights and attention to full rings; the first clip sees shorter ones."""
    four = clip_petaflop("704*384", 48, 4)
    assert four == pytest.approx(2 * clip_petaflop("704*384", 48, 2))
    assert 0.75 * 4 * 4 * 0.116 < four < 4 * 4 * 0.123


# ------------------------------------------------------------------------------------------- reported figures

def test_every_reported_figure_names_its_source():
    known = reported()
    for name, group in known.items():
        if name not in ("about", "sources", "published"):
            assert group["source"] in known["sources"], name
    assert all(entry["source"] in known["sources"] for entry in known["published"])
    assert all(source["date"] and source["kind"] for source in known["sources"].values())


def test_the_article_s_first_table_is_whole():
    rows = reported()["steps"]["rows"]
    assert [row["steps"] for row in rows] == [3, 4, 5, 6]
    columns = {measure.reported for measure in ALL if measure.reported}
    assert columns < set(rows[0])
