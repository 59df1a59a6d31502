"""Claims: verdicts follow the data. Turn the data round and the verdict turns."""

from pathlib import Path

import numpy as np
import pytest

from liveavatar.study.claims import (
    ARITHMETIC,
    CLAIMS,
    CONFIRMED,
    DEPENDS,
    LEVELS,
    MINI_ANSWERS,
    NO,
    ON_14B,
    ON_MINI,
    OPEN,
    PARTLY_OPEN,
    PUBLISHED,
    REFUTED,
    TOO_FEW,
    VERDICTS,
    YES,
    Evidence,
    judge_all,
    measured,
)
from liveavatar.study.claims.choices import share_of_columns
from liveavatar.study.measures import ALL, USUAL, reported
from liveavatar.study.plan import POOR, RICH
from liveavatar.study.released import cache_gib, clip_petaflop, frame_tokens, needed_gib, released_shape, weights_gib
from liveavatar.study.table import Table

ROOT = Path(__file__).resolve().parent.parent
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
    """What mini answers."""
    found = BY_NAME[name].judge(Evidence(Table(rows)))
    assert len(found.at(ON_MINI)) == 1
    return found.at(ON_MINI)[0]


def test_there_are_claims_enough_and_each_has_a_name_of_its_own():
    assert len(CLAIMS) >= 24 and len(BY_NAME) == len(CLAIMS)
    assert all(claim.text and claim.part and claim.settled_by for claim in CLAIMS)


@pytest.mark.parametrize("rows", [[], made("lips.error_frames", {4: 1.0}, 1, 1)], ids=["no results", "one video"])
def test_too_few_results_are_no_verdict(rows):
    verdicts = judge_all(Table(rows))
    assert list(verdicts) == [claim.name for claim in CLAIMS]
    assert all(verdict.verdict in VERDICTS and verdict.why for verdict in verdicts.values())
    for name in ("lips-3-4", "psnr-3-4", "knee", "noise-hurts", "poor-drifts", "flicker", "hands"):
        assert verdicts[name].mini == TOO_FEW and verdicts[name].verdict == OPEN


LIPS = "lips.error_frames"


@pytest.mark.parametrize("three, four, verdict", [(3.2, 1.8, YES), (1.8, 3.2, NO), (1.0, 1.0, NO), (1.1, 1.0, NO)])
def test_a_gain_must_be_there_and_must_matter(three, four, verdict):
    assert judge("lips-3-4", made(LIPS, {3: three, 4: four})).verdict == verdict


def test_a_loss_is_called_one():
    worse = judge("lips-3-4", made(LIPS, {3: 1.8, 4: 3.2}))
    assert worse.why == "lip error: worse with 4 steps than with 3 steps"
    assert worse.figures[0].estimate.mean == pytest.approx(-1.4, abs=0.05) and worse.figures[0].matters == 0.2
    alike = judge("lips-3-4", made(LIPS, {3: 1.0, 4: 1.0})).why
    assert alike == "lip error: no difference that matters between 3 steps and 4 steps"


def test_two_scattered_videos_decide_nothing():
    assert judge("lips-3-4", made(LIPS, {3: 1.2, 4: 1.0}, 2, 1, noise=0.5)).verdict == TOO_FEW


@pytest.mark.parametrize("six, verdict", [(1.0, YES), (0.5, NO)])
def test_gaining_nothing_is_the_other_way_round(six, verdict):
    assert judge("lips-above-4", made(LIPS, {4: 1.0, 6: six})).verdict == verdict


@pytest.mark.parametrize("mean, verdict", [(1.8, YES), (0.3, NO)])
def test_a_reported_figure_is_held_against_the_interval(mean, verdict):
    assert judge("lips-size", made(LIPS, {4: mean})).verdict == verdict


def test_a_wide_interval_confirms_nothing():
    scattered = made(LIPS, {4: 1.8}, 3, 1, noise=2.0)
    assert judge("lips-size", scattered).verdict == TOO_FEW


@pytest.mark.parametrize("last, verdict", [(4, YES), (2, NO), (6, NO)])
def test_the_knee_is_where_gains_end(last, verdict):
    course = {steps: 1.0 + 0.8 * max(last - steps, 0) for steps in range(1, 9)}
    found = judge("knee", made(LIPS, course))
    assert found.verdict == verdict and found.numbers["knee"] == last


@pytest.mark.parametrize("line, straight, share", [
    (lambda steps: 10.0 + 10.0 * steps, YES, NO), (lambda steps: 20.0 * steps, YES, YES),
    (lambda steps: 50.0 + 20.0 * (steps % 2), NO, NO)])
def test_time_is_a_line_or_is_not(line, straight, share):
    rows = made("work_ms_per_frame", {steps: line(steps) for steps in range(1, 9)})
    assert judge("time-line", rows).verdict == straight
    assert judge("time-25-percent", rows).verdict == share


def test_memory_that_grows_by_caches_does_not_come_from_gathered_weights():
    rows = made("caches_mib", {steps: 10.0 * steps for steps in (2, 3, 4)}, noise=0)
    rows = [row | {"caches_mib": 10.0 * row["steps"], "weights_mib": 64.0} for row in rows]
    assert judge("unshard", rows).verdict == NO
    more = [row | {"weights_mib": 64.0 + row["steps"]} for row in rows]
    assert judge("unshard", more).verdict == YES


@pytest.mark.parametrize("carried, verdict", [(False, NO), (True, YES)])
def test_gradients_are_looked_for(carried, verdict):
    assert judge("gradients", made(LIPS, {4: 1.0}, gradients=carried)).verdict == verdict


@pytest.mark.parametrize("poor, verdict", [(0.05, YES), (0.01, TOO_FEW)])
def test_drift_of_poor_prompts(poor, verdict):
    rows = made("identity.drift", {4: 0.01}, noise=1e-4, prompt=RICH) \
        + made("identity.drift", {4: poor}, noise=1e-4, prompt=POOR)
    assert judge("poor-drifts", rows).verdict == verdict


def test_noise_and_cleaning():
    quiet, noisy, cleaned = (made(LIPS, {4: mean}, noise_db=level, clean=clean)
                             for mean, level, clean in ((1.0, None, ""), (4.0, 0.0, ""), (1.5, 0.0, "noisereduce")))
    assert judge("noise-hurts", quiet + noisy).verdict == YES
    assert judge("cleaning-helps", noisy + cleaned).verdict == YES
    assert judge("cleaning-helps", noisy + [row | {"clean": "noisereduce"} for row in noisy]).verdict == NO


def test_shares_of_variance_are_those_of_the_table():
    assert share_of_columns(np.array([[0.0, 2.0], [0.0, 2.0]])) == pytest.approx(1.0)
    assert share_of_columns(np.array([[0.0, 0.0], [2.0, 2.0]])) == pytest.approx(0.0)
    assert share_of_columns(np.array([[0.0, 2.0], [2.0, 4.0]])) == pytest.approx(0.5)


# ------------------------------------------------------------------------------------------- levels of evidence

@pytest.fixture(scope="module")
def nothing_known_of_mini():
    return judge_all(Table([]))


def test_mini_never_confirms_or_refutes_a_claim_about_the_14b(nothing_known_of_mini):
    for rows in (made(LIPS, {3: 3.2, 4: 1.8}), made(LIPS, {3: 1.8, 4: 3.2})):
        found = BY_NAME["lips-3-4"].judge(Evidence(Table(rows)))
        assert found.mini in (YES, NO) and found.verdict == OPEN
    for claim in CLAIMS:
        for question in claim.questions:
            word = question.answer(Evidence(Table([]))).verdict
            assert (word in MINI_ANSWERS) == (question.level == ON_MINI)


def test_every_claim_shows_its_levels_its_evidence_and_what_would_settle_it(nothing_known_of_mini):
    for verdict in nothing_known_of_mini.values():
        assert verdict.findings
        for finding in verdict.findings:
            assert finding.level in LEVELS and finding.test and finding.source.label
            path = finding.source.path
            assert path.startswith("https://") or (ROOT / path).is_file(), path


@pytest.mark.parametrize("name, verdict", [
    ("fits-80", DEPENDS), ("six-never", CONFIRMED), ("unshard", REFUTED), ("620-ms", REFUTED),
    ("time-25-percent", DEPENDS), ("deadline", PARTLY_OPEN), ("golden", OPEN), ("even-steps", OPEN)])
def test_arithmetic_and_measurement_of_the_14b_decide(nothing_known_of_mini, name, verdict):
    found = nothing_known_of_mini[name]
    assert found.verdict == verdict
    assert any(one.level in (ARITHMETIC, ON_14B) for one in found.findings)


def test_others_speak_for_or_against_and_decide_only_what_a_name_stands_for(nothing_known_of_mini):
    assert nothing_known_of_mini["knee"].at(PUBLISHED) and nothing_known_of_mini["knee"].verdict == OPEN
    assert nothing_known_of_mini["dmd-name"].verdict == REFUTED


def test_an_installation_without_the_measurements_leaves_them_open(monkeypatch):
    for name in ("speed", "memory", "two_cards"):
        monkeypatch.setattr(measured, name, dict)
    found = judge_all(Table([]))
    assert all(one.verdict == OPEN for name in ("unshard", "deadline") for one in found[name].at(ON_14B))


def test_what_was_measured_on_h200_is_read_from_its_files():
    peaks = [measured.memory()["bf16", "704*384", steps]["peak"] for steps in (3, 4, 5)]
    assert np.diff(peaks) == pytest.approx(cache_gib("704*384"), abs=0.02)
    assert measured.two_cards()["block_ms"] == pytest.approx(379, abs=1)        # as wan_tpp.md has it


def test_evidence_of_mini_says_which_weights_it_is_of():
    rows = made(LIPS, {3: 1.0, 4: 1.0}, weights_id="mini 0.1 247adcff6c65ed54")
    assert judge("lips-3-4", rows).made_with.startswith("the model of version 0.1")
    assert "does not name" in judge("lips-3-4", made(LIPS, {3: 1.0, 4: 1.0})).made_with


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
        if name not in ("about", "sources", "published", "statements"):
            assert group["source"] in known["sources"], name
    assert all(entry["source"] in known["sources"] for entry in (*known["published"], *known["statements"]))
    assert all(name in BY_NAME for entry in known["statements"] for name in entry["claims"])
    assert all(source["date"] and source["kind"] for source in known["sources"].values())


def test_the_article_s_first_table_is_whole():
    rows = reported()["steps"]["rows"]
    assert [row["steps"] for row in rows] == [3, 4, 5, 6]
    columns = {measure.reported for measure in ALL if measure.reported}
    assert columns < set(rows[0])
