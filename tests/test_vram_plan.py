"""The plan: bytes that follow from shapes, verdicts, remedies, refusals; and the figures others have reported."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from liveavatar import cli
from liveavatar.cache import RingCache
from liveavatar.config import GenerationConfig
from liveavatar.types import InputError
from liveavatar.vram.advice import ARTICLE, RELEASED_PEAK_GIB, live_ways
from liveavatar.vram.cards import GIB, card, cards, efficiency
from liveavatar.vram.fit import check_fit
from liveavatar.vram.meta import measure, meta_tensor
from liveavatar.vram.plan import plan
from liveavatar.vram.settings import Settings
from liveavatar.vram.shapes import UMT5, Wav2Vec2, lora_bytes, ring_bytes, shapes, weights_of

SMALL = "384*256"                    # quick to run without numbers
MIB = 2**20


# ------------------------------------------------------------------------------------------------ without numbers

def test_a_network_without_numbers_tells_its_peak_and_its_products():
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(1000, 4000, bias=False), nn.ReLU(), nn.Linear(4000, 10, bias=False))
    _, cost = measure(lambda: network(meta_tensor(100, 1000)), network)
    assert cost.flops == {"linear": 2 * 100 * (1000 * 4000 + 4000 * 10)}
    hidden, given = 100 * 4000 * 4, 100 * 1000 * 4
    assert 2 * hidden <= cost.transient <= 2 * hidden + given and cost.kept == 100 * 10 * 4


def test_attention_is_counted_without_its_matrix_of_scores():
    q, k = meta_tensor(1, 2, 1000, 64), meta_tensor(1, 2, 3000, 64)
    _, cost = measure(lambda: nn.functional.scaled_dot_product_attention(q, k, k), q, k)
    assert cost.flops == {"attention": 4.0 * 2 * 1000 * 3000 * 64} and cost.transient == q.nbytes


# ------------------------------------------------------------------------------------------------ known sizes

def test_the_public_networks_have_the_published_number_of_parameters():
    assert UMT5().parameters == 5_680_910_336
    assert Wav2Vec2().parameters == 315_472_545
    assert weights_of("wan-s2v-14b", "bf16").total == 2 * 16_295_755_609
    assert lora_bytes("wan-s2v-14b") == 4 * 676_331_520
    assert weights_of("wan-s2v-14b", "fp8").total == pytest.approx(16.65e9, rel=0.005)
    assert shapes("wan-s2v-14b", (256, 384)).vae == 2 * 126_892_531


def test_a_cache_is_as_large_as_the_one_that_a_run_makes():
    parts = shapes("wan-s2v-14b", (256, 384))
    tokens = 12 * 384                                    # latent frames in a ring x tokens of a frame
    assert parts.ring_alone == 819_200 * tokens          # keys and values of a token over all layers, in bfloat16
    assert parts.ring == parts.ring_alone and parts.condition == 819_200 * 384 * 5 // 2
    assert parts.staging * 20 == parts.ring + parts.condition          # two of forty layers
    small = shapes("mini", (128, 128), "float32")
    ring = RingCache.empty(8, 1, 4, 64, condition_tokens=64, frame_tokens=64, capacity=9, dtype=torch.float32,
                           device="cpu")
    assert small.ring == ring.bytes
    longer = ring_bytes("wan-s2v-14b", (256, 384), torch.bfloat16, 24)
    assert longer[1] == 2 * parts.ring_alone and parts.ring_frames == 12
    with pytest.raises(InputError, match="ring_frames is 10"):
        Settings(ring_frames=10)


def test_the_work_of_a_step_is_known_from_its_shapes():
    """37 TFLOP were derived by hand, two of them for words that are computed once here."""
    assert shapes("wan-s2v-14b", (256, 384)).step.total_flops == pytest.approx(35e12, rel=0.03)


# ------------------------------------------------------------------------------------------------ the plan

def test_memory_grows_by_one_cache_a_step():
    peaks = [plan(size=SMALL, steps=steps, gpu="H200").peak.bytes for steps in (3, 4, 5, 8)]
    ring = shapes("wan-s2v-14b", (256, 384)).ring
    assert [after - before for before, after in zip(peaks, peaks[1:], strict=False)] == [ring, ring, 3 * ring]


def test_steps_over_gpus_share_the_caches_and_weights_over_gpus_do_not():
    one, tpp, fsdp = (plan(size=SMALL, gpu="H100", gpus=gpus, spread=spread) for gpus, spread in
                      ((1, "one"), (5, "tpp"), (5, "fsdp")))
    tpp_steady = tpp.devices[0][-2].owners
    assert tpp_steady["rings"] * 4 == one.peak.owners["rings"] == fsdp.peak.owners["rings"]
    assert tpp.peak.owners["transformer"] == one.peak.owners["transformer"]
    assert fsdp.peak.owners["transformer"] * 5 == pytest.approx(one.peak.owners["transformer"], rel=1e-6)
    assert tpp.roles == ("step 0", "step 1", "step 2", "step 3", "VAE")
    assert "rings" not in tpp.devices[4][-1].owners


def test_what_fsdp_gathers_does_not_depend_on_steps_and_is_what_the_article_calls_unshard():
    gathered = {plan(size=SMALL, steps=steps, gpu="H100", gpus=5, spread="fsdp").peak.owners["gathered"]
                for steps in (1, 4, 6)}
    assert len(gathered) == 1
    assert weights_of("wan-s2v-14b", "bf16").root / GIB == pytest.approx(ARTICLE["unshard_gb"], abs=0.005)


def test_a_verdict_names_its_peak_and_owner_and_the_cheapest_change_comes_first():
    made = plan(size=SMALL, gpu="RTX 5090")
    assert made.verdict == "does not fit" and made.peak.owner == "transformer"
    assert "does not fit: " in made.sentence and "transformer weights" in made.sentence
    first = made.changes[0]
    assert "fp8 weights" in first.description and first.verdict in ("fits", "tight") and first.saves > 10 * GIB
    names = ("size", "weights", "caches", "offload_kv_cache")
    again = plan(gpu="RTX 5090", **{name: getattr(first.settings, name) for name in names})
    assert again.peak.bytes == first.peak and again.verdict == first.verdict
    assert plan(size=SMALL, gpu="H200").changes == ()


def test_encoders_that_rest_elsewhere_leave_room():
    stay, rest = (plan(size=SMALL, gpu="H100", offload_model=offload) for offload in (False, True))
    encoders = 2 * (UMT5().parameters + Wav2Vec2().parameters)
    assert stay.moments[-2].bytes - rest.moments[-2].bytes == encoders


def test_caches_in_main_memory_cost_transfers_and_leave_two_layers():
    here, there = (plan(size=SMALL, gpu="H100", offload_kv_cache=there) for there in (False, True))
    assert there.moments[-2].owners["rings"] < here.moments[-2].owners["rings"] / 8
    assert there.host_peak > 4 * shapes("wan-s2v-14b", (256, 384)).ring_alone
    assert there.time.transfers_s > here.time.transfers_s == 0


def test_a_condition_in_each_ring_is_counted_and_is_the_first_to_go():
    once, each = (plan(size=SMALL, gpu="H200", condition_in_rings=each) for each in (False, True))
    parts = shapes("wan-s2v-14b", (256, 384))
    assert each.moments[-2].bytes - once.moments[-2].bytes == 4 * parts.condition - parts.staging
    assert plan(gpu="H100", condition_in_rings=True).changes[0].description.startswith("condition kept once")
    with pytest.raises(InputError, match="caches on the GPU in bf16"):
        plan(size=SMALL, condition_in_rings=True, caches="fp8")


def test_attention_in_8_bits_has_fp8_caches_with_a_condition_in_each():
    narrow, eight = plan(size=SMALL, gpu="H200", caches="fp8"), plan(size=SMALL, gpu="H200", fp8_attention=True)
    parts = shapes("wan-s2v-14b", (256, 384), caches="fp8")
    assert eight.moments[-2].bytes - narrow.moments[-2].bytes == 4 * (parts.condition // 2) - parts.staging
    assert eight.time.step_s < narrow.time.step_s and "attention in 8 bits" in eight.settings.description
    assert all(change.settings.fp8_attention is False for change in plan(gpu="RTX 4090", fp8_attention=True).changes
               if change.settings.offload_kv_cache)
    with pytest.raises(InputError, match="caches of its own on the GPU"):
        plan(size=SMALL, fp8_attention=True, offload_kv_cache=True)
    with pytest.raises(InputError, match="the A100 80GB cannot multiply in fp8; leave it out"):
        plan(size=SMALL, gpu="A100 80GB", fp8_attention=True)


def test_a_table_reads_as_text_and_an_explanation_has_numbers():
    made = plan(size=SMALL, gpu="L40S", weights="fp8")
    text = made.table()
    assert all(moment.description in text for moment in made.moments) and "the condition is prefilled" in text
    assert "block 0, step 3" in text and "<- peak" in text and "estimated from the card's sheet, not measured" in text
    said = " ".join(made.explain())
    assert "3.52 GiB a step" in said and "Reported by the article, not measured: 21.48 + 4.17 = 25.65" in said
    assert made.figure().axes[0].get_ylabel().startswith("GiB")


def test_the_released_layout_comes_near_the_reported_peaks():
    """Compared with, not fitted to: 72.6 and 57.7 GiB are reported of the released code at 704*384 with 4 steps."""
    for weights, reported in RELEASED_PEAK_GIB.items():
        made = plan(gpu="H200", weights=weights, layout="released")
        assert made.peak.bytes / GIB == pytest.approx(reported, rel=0.05)


# ------------------------------------------------------------------------------------------------ refusals

def test_five_steps_on_four_small_cards_are_refused():
    made = plan(size="704*384", steps=5, gpu="24 GB", gpus=4)
    assert made.advice[0].source == "article" and made.advice[0].refused
    with pytest.raises(InputError, match="never 5 steps at 704\\*384 on 4 cards of 24 GB.*--force"):
        made.check()
    assert made.check(force=True) is made


def test_many_clips_that_are_decoded_at_the_end_are_refused():
    made = plan(size=SMALL, gpu="H200", infer_frames=60, num_clip=220, enable_online_decode=False)
    with pytest.raises(InputError, match="add --enable_online_decode"):
        made.check()
    assert plan(size=SMALL, gpu="H200", infer_frames=60, num_clip=220).check()
    with pytest.raises(InputError, match="60 and 72"):
        plan(infer_frames=64)


def test_six_steps_on_several_gpus_are_warned_of_and_shared_out():
    made = plan(size=SMALL, steps=6, gpu="H100", gpus=5)
    warned = [one for one in made.advice if one.source == "article"]
    assert len(warned) == 1 and not warned[0].refused and "never 6 steps" in warned[0].reason
    assert made.roles[0] == "steps 0 to 1"


def test_what_cannot_keep_its_deadline_is_said():
    slow, fast = plan(size=SMALL, gpu="L4", weights="fp8"), plan(size=SMALL, gpu="B200")
    assert any("live, a block must be there every 480 ms" in one.reason for one in slow.advice)
    assert fast.advice == () and fast.time.keeps_up


@pytest.mark.parametrize(("asked", "ways"), [
    ({"gpu": "H100"}, ["3 GPUs (TPP)", "2 GPUs (TPP) with fp8 weights and attention in 8 bits"]),
    ({"gpu": "H100", "weights": "fp8"}, ["2 GPUs (TPP)"]),
    ({"gpu": "RTX PRO 6000"}, ["5 GPUs (TPP)"]),
    ({"gpu": "A100 80GB"}, [])])
def test_what_is_too_slow_to_be_live_is_told_how_many_cards_would_do(asked, ways):
    made = plan(steps=4, size="704*384", **asked)
    assert live_ways(made) == ways
    assert any(advice.remedy == f"for live use: {', '.join([*ways, 'a faster card', 'a smaller size'])}"
               for advice in made.advice)


# ------------------------------------------------------------------------------------------------ cards

def test_cards_are_found_however_they_are_spelt():
    assert card("NVIDIA GeForce RTX 4090") is card("rtx-4090") is card("RTX4090")
    assert card("24 GB").usable == pytest.approx(22.08 * GIB) and card("24 GB").bf16_tflops is None
    with pytest.raises(InputError, match="RTX 4090"):
        card("RTX 4099")
    assert all(one.source and one.mark for one in cards())
    assert 0 < efficiency().attention < efficiency().matrix_bf16 < 1


def test_settings_that_cannot_be_are_refused_by_name():
    with pytest.raises(InputError, match="A100 80GB cannot multiply in fp8"):
        plan(gpu="A100 80GB", weights="fp8")
    with pytest.raises(InputError, match="no 'step'"):
        plan(step=4)
    with pytest.raises(InputError, match="leave gpus at 1"):
        plan("mini", gpus=2)


def test_without_rates_there_is_a_verdict_but_no_time():
    made = plan(size=SMALL, gpu="48 GB", weights="fp8")
    assert made.verdict in ("fits", "tight") and made.time is None


# ------------------------------------------------------------------------------------------------ the command

def test_the_command_prints_the_plan_and_its_exit_code_tells_a_refusal(capsys, tmp_path):
    figure = tmp_path / "plan.png"
    assert cli.main(["plan", "--size", SMALL, "--gpu", "H100", "--fp8", "--explain", "--figure", str(figure)]) == 0
    said = capsys.readouterr().out
    assert "fits: " in said and "why:" in said and figure.stat().st_size > 1000
    assert cli.main(["plan", "--size", SMALL, "--gpu", "24 GB"]) == 3
    assert cli.main(["plan", "--size", SMALL, "--gpu", "24 GB", "--force"]) == 0
    assert cli.main(["plan", "--cards"]) == 0 and "NVIDIA L40S data sheet" in capsys.readouterr().out
    assert cli.main(["plan", "--gpu", "Voodoo"]) == 2


def test_a_run_is_refused_before_weights_are_read_on_the_card_that_is_here(monkeypatch, recwarn):
    seen = SimpleNamespace(name="NVIDIA GeForce RTX 4090", total_memory=int(23.64 * GIB))
    config = GenerationConfig(size=SMALL)
    assert check_fit(config, {"device": "cpu"}) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: seen)
    with pytest.raises(InputError, match="are usable on RTX 4090.*--force"):
        check_fit(config, {})
    assert check_fit(config, {}, force=True).verdict == "does not fit"
    assert any("are usable on RTX 4090" in str(one.message) for one in recwarn)
    assert check_fit(config, {"config": {"transformer": {"dim": 32}}}) is None
    seen.name, seen.total_memory = "NVIDIA Something New", int(150 * GIB)
    made = check_fit(config, {"fp8": True})
    assert made.verdict == "fits" and made.card.name == "NVIDIA Something New"


# ------------------------------------------------------------------------------------------------ mini, measured

def test_minis_process_is_as_large_as_planned():
    """The plan against the resident memory of a process that makes half a second of video: at most 10 % too small.

    It may be larger: pages of libraries that nobody read lately are not resident, which is worth 100 MiB of some 900.
    Where the system has taken away more than that, a second or third process is measured.
    """
    benchmark = Path(__file__).resolve().parents[1] / "benchmarks" / "plan_mini.py"
    command = [sys.executable, str(benchmark), "--seconds", "0.5", "--steps", "2", "--larger", "0.3"]
    said = []
    for _ in range(3):
        run = subprocess.run(command, capture_output=True, text=True)
        said.append(run.stdout + run.stderr)
        if run.returncode == 0:
            return
    pytest.fail("\n".join(said))
