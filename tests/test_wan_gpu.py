"""What only a GPU can show of wan-s2v-14b, at tiny size: fp8 products, rings on a second stream, encoders that rest.

    python -m pytest tests/test_wan_gpu.py
"""

import pytest
import torch
from fakes import face, tone
from torch import nn

pytest.importorskip("transformers", reason="wan-s2v-14b needs the extra `wan`")
from wan_fakes import LOADED, SMALL, TRANSFORMER, off, write_checkpoint

import liveavatar
from liveavatar.backends.wan.precision import Fp8Linear, multiplies_fp8
from liveavatar.config import GenerationConfig
from liveavatar.runs.run import Run
from liveavatar.types import Block
from liveavatar.vram.watch import MemoryWatch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

CONFIG = GenerationConfig(size="64*64", sample_steps=2)
WIDE = SMALL | {"transformer": TRANSFORMER | dict(dim=64, ffn_dim=128)}          # widths that fp8 units take
DEVICE = torch.device("cuda")


@pytest.mark.parametrize("tokens", [1, 15, 512])
def test_fp8_units_multiply_as_the_emulation_does(tokens):
    """In all, not number by number. On an H200 36 of 65,536 results were off by up to 0.05, about 1e-3 of the norm.

    Expected: bfloat16 falls to either side, 2e-3 of the norm; the units add with fewer bits, an estimated 2e-3; and a
    token's number half-way between two of fp8 may fall the other way and move its row. Of one token, that may be 3e-2.
    A scale left out, or another row's, costs far more.
    """
    if not multiplies_fp8(DEVICE):
        pytest.skip("this GPU has no fp8 units (sm_89)")
    torch.manual_seed(0)
    layer = Fp8Linear(nn.Linear(64, 128).bfloat16())
    x = torch.randn(1, tokens, 64, dtype=torch.bfloat16)
    assert off(layer.to(DEVICE)(x.to(DEVICE)).cpu(), layer.cpu()(x)) < (1e-2 if tokens > 100 else 4e-2)


def load(**options):
    return liveavatar.load("wan-s2v-14b", weights="random", config=WIDE, conditioning="multi-gpu", **options)


@pytest.fixture(scope="module")
def pipe():
    return load()


@pytest.fixture(scope="module")
def told(pipe):
    return pipe.condition(tone(3.0), face(80, 80), "hello", CONFIG)


def latents(pipe, told):
    return torch.stack([step.x.clone() for step in pipe.steps(told, config=CONFIG)])


@pytest.mark.parametrize("option", ["offload_kv_cache", "condition_in_rings"])
def test_however_rings_are_laid_out_the_video_is_the_same(pipe, told, option):
    """Seven blocks: the ring of two goes round three times, fetched on a second stream or not at all."""
    assert torch.equal(latents(load(**{option: True}), told), latents(pipe, told))


@pytest.mark.parametrize(("options", "most"), [({"fp8_cache": True}, 0.03), ({"fp8": True}, 0.1),
                                               ({"fp8_cache": True, "offload_kv_cache": True}, 0.03),
                                               ({"fp8_cache": True, "compile": True}, 0.06),
                                               ({"fp8_attention": True}, 0.05),
                                               ({"fp8_attention": True, "compile": True}, 0.08)])
def test_eight_bits_change_the_picture_a_little(pipe, told, options, most):
    assert 0 < off(latents(load(**options), told), latents(pipe, told)) < most


def both(device):
    """Four blocks of two steps of the same network in float32: the latents after every step."""
    from liveavatar.sampler import denoise_block, released_schedule
    from liveavatar.transformer import CausalS2VTransformer, Context

    torch.manual_seed(0)
    model = CausalS2VTransformer.from_config(WIDE["transformer"]).eval().requires_grad_(False)
    told = [torch.randn(shape) for shape in ((1, 5, 16), (1, 16, 1, 8, 8), (1, 16, 19, 8, 8), (1, 3, 16, 21))]
    noise = torch.randn(4, 1, 16, 3, 8, 8)
    torch.nn.Module.to(model, device)
    words, portrait, motion, sound = (tensor.to(device) for tensor in told)
    with torch.inference_mode():
        text = model.encode_text(words)
        condition = model.prefill(portrait, motion, text)
        caches, made = tuple(model.new_cache(condition) for _ in range(2)), []
        for block in range(4):
            steps = list(denoise_block(model, noise[block].to(device), Context(text, model.encode_audio(sound)),
                                       condition, caches, released_schedule(2)))
            caches = tuple(step.cache for step in steps)
            made += [step.x.cpu() for step in steps]
    return torch.cat(made)


def test_a_gpu_computes_what_a_cpu_computes():
    assert off(both(DEVICE), both(torch.device("cpu"))) < 1e-3


def test_attention_is_given_to_the_first_kernel_that_can():
    from liveavatar.transformer import attention

    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 128, device=DEVICE, dtype=torch.bfloat16) for n in (96, 480, 480))
    with torch.inference_mode():
        expected = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
        assert off(attention(q, k, v), expected) < 1e-2
        assert off(attention(q, k[:, :, :333], v[:, :, :333]),
                   torch.nn.functional.scaled_dot_product_attention(q.float(), *(x[:, :, :333].float()
                                                                                 for x in (k, v)))) < 1e-2
        wide = torch.randn(1, 2, 7, 12, device=DEVICE)                # a width and a precision that few kernels take
        assert attention(wide, wide, wide).isfinite().all()


@pytest.mark.parametrize(("heads", "width", "seen", "shuffled"), [
    (3, 128, 5, False), (3, 128, 128, False), (2, 32, 200, False), (40, 128, 1111, False), (3, 128, 16, True),
    (2, 32, 208, True), (40, 128, 1120, True)])
def test_the_kernel_for_8_bits_attends_as_the_emulation_does(heads, width, seen, shuffled):
    """The weights are rounded too, with three bits behind the leading one, and are but nearly powers of 2: some 3 % in
    all. Keys beyond those seen hold what the format cannot: nothing of it may be read."""
    from liveavatar.backends.wan.fp8_attention import Scales, attend_plainly, has_fp8_kernels, to_fp8, write_values
    from liveavatar.backends.wan.precision import FP8

    if not has_fp8_kernels(DEVICE):
        pytest.skip("this GPU has no fp8 units (sm_89), or there is no Triton")
    from liveavatar.backends.wan.fp8_kernel import attend

    torch.manual_seed(0)
    room, scale = -(-seen // 16) * 16 + 128, torch.full((2, heads, 1, 1), 2.0**-6, device=DEVICE)
    q, k, v = (torch.randn(2, n, heads, width, device=DEVICE).transpose(1, 2) for n in (70, seen, seen))
    keys = torch.full((2, heads, room, width), float("nan"), device=DEVICE).to(FP8)
    values = torch.full((2, heads, width, room), float("nan"), device=DEVICE).to(FP8)
    keys[:, :, :seen].copy_(to_fp8(k, scale))
    write_values(values[..., :seen], v, scale, shuffled)
    scales = Scales(scale[:1, :1], scale, scale)
    told = to_fp8(q, scales.q), keys[:, :, :seen], values[..., :seen], scales, shuffled, torch.bfloat16
    made = attend(*told)
    assert made.shape == q.shape and off(made, attend_plainly(*told)) < 0.05
    assert off(made, torch.nn.functional.scaled_dot_product_attention(q, k, v)) < 0.09


def test_the_kernel_for_8_bits_loses_no_small_weight_among_many():
    """All values are 1, so is what is seen. The units add 8-bit products with some 14 bits: over 15,312 keys the later
    ones would vanish beside the sum of the earlier ones, if they were added there."""
    from liveavatar.backends.wan.fp8_attention import Scales, has_fp8_kernels, to_fp8, write_values
    from liveavatar.backends.wan.precision import FP8

    if not has_fp8_kernels(DEVICE):
        pytest.skip("this GPU has no fp8 units (sm_89), or there is no Triton")
    from liveavatar.backends.wan.fp8_kernel import attend

    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 70, 128, device=DEVICE), torch.randn(1, 1, 15_312, 128, device=DEVICE)
    scale = torch.full((1, 1, 1, 1), 2.0**-6, device=DEVICE)
    values = torch.zeros(1, 1, 128, 15_312, device=DEVICE).to(FP8)
    write_values(values, torch.ones_like(k), scale, shuffled=True)
    seen = attend(to_fp8(q, scale), to_fp8(k, scale), values, Scales(scale, scale, scale), True, torch.float32)
    assert (seen - 1).abs().max() < 0.005


@pytest.mark.parametrize("stage", ["audio", "portrait", "text", "prefill", "step", "decode"])
def test_out_of_memory_at_any_stage_leaves_memory_as_it_was(pipe, told, stage, monkeypatch):
    """torch is made to refuse once at that stage; the pipeline then works again and holds no more than before."""
    import gc

    def held():
        gc.collect()
        torch.cuda.synchronize()
        torch._C._cuda_clearCublasWorkspaces()       # 32 MiB for each thread that multiplied; torch keeps them
        return torch.cuda.memory_allocated()

    expected, before = latents(pipe, told), held()
    backend = pipe.backend
    owner, name = {"audio": (backend.audio.network, "forward"), "portrait": (backend.vae, "encode_stream"),
                   "text": (backend.text.network, "forward"), "prefill": (backend.transformer, "prefill"),
                   "step": (backend.transformer, "run_layer"), "decode": (backend.vae, "decode_latent")}[stage]
    plain, calls = getattr(owner, name), []

    def refuse(*arguments, **options):
        calls.append(0)
        if len(calls) == (4 if stage in ("step", "decode") else 1):
            torch.empty(2**50, dtype=torch.uint8, device=DEVICE)
        return plain(*arguments, **options)

    monkeypatch.setattr(owner, name, refuse)
    run = Run.of(pipe, tone(3.0), face(80, 80), "hello", CONFIG)
    watch = MemoryWatch.of(run)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run.start().result()
    monkeypatch.undo()
    assert watch.stop() and "ran out of memory while" in caught.value.__notes__[0]
    del run, watch, caught
    assert held() <= before + 2**20
    assert torch.equal(latents(pipe, told), expected)


def test_encoders_rest_in_main_memory_and_those_that_stay_say_the_same(pipe, told):
    backend = pipe.backend
    networks = (backend.text.network, backend.audio.network)
    assert {weight.device.type for network in networks for weight in network.parameters()} == {"cpu"}
    stays = load(offload_model=False)
    stays.backend.text.network.load_state_dict(backend.text.network.state_dict())       # drawn on another device
    assert torch.equal(stays.encode_text("hello"), pipe.encode_text("hello"))
    assert {weight.device.type for weight in stays.backend.text.network.parameters()} == {"cuda"}


@pytest.mark.parametrize("options", [{}, {"fp8": True}, {"fp8": True, "fp8_cache": True, "compile": True},
                                     {"fp8": True, "fp8_attention": True, "compile": True}])
def test_every_way_ends_in_pictures(options, told):
    blocks = [event for event in load(**options).events(told, config=CONFIG) if isinstance(event, Block)]
    assert sum(len(block.frames) for block in blocks) == 75
    assert all(block.latents.isfinite().all() for block in blocks)


def test_steps_that_are_repeated_as_one_launch_make_the_same_latents_and_end_with_their_rings(told):
    """Seven blocks, a ring of two: the third and fourth are recorded, the others repeat them."""
    import gc

    pipe = load(compile=True)
    steps, model = pipe.backend.transformer.run_layers, pipe.backend.transformer
    made = latents(pipe, told)
    gc.collect()
    assert not steps._records and not steps._pools
    del model.run_layers                                                             # the class has the plain one
    assert torch.equal(latents(pipe, told), made)


def test_tokens_are_rounded_as_they_are_made():
    """GELU, what attention saw, and the modulated norm: by our kernels as in plain steps."""
    from liveavatar.backends.wan.precision import RoundedGelu, has_fp8_kernels, quantise_rows
    from liveavatar.transformer import layer_norm, modulated

    if not has_fp8_kernels(DEVICE):
        pytest.skip("needs Triton and a GPU with fp8 units (sm_89)")
    torch.manual_seed(0)
    layer = Fp8Linear(nn.Linear(200, 64).bfloat16(), after_attention=True).to(DEVICE)
    x, more = torch.randn(2, 2, 3, 7, 200, device=DEVICE) * 3
    shift, scale = torch.randn(2, 1, 1, 1, 200, device=DEVICE)
    for made, exact in (
            (RoundedGelu()(x.bfloat16()), torch.nn.functional.gelu(x.bfloat16().float(), approximate="tanh")),
            (layer.ready(x.bfloat16()), x.bfloat16()),
            (modulated(layer, x, shift, scale), layer_norm(x) * (1 + scale) + shift),
            (modulated(layer, x + more, shift, scale, (x, more)), layer_norm(x + more) * (1 + scale) + shift)):
        rows, of_row = quantise_rows(exact.flatten(0, 2))
        assert made.shape == x.shape[:-1] and off(made.scale, of_row) < 1e-3
        assert off(made.tokens.float() * made.scale, rows.float() * of_row) < 0.01
    assert modulated(layer, x, shift, scale).flatten(1, 2).shape == (2, 21)


def test_the_vae_laid_out_for_the_gpu_makes_the_pictures_of_the_plain_one():
    """Norm, activation and padding round where diffusers' do; convolutions may add in another order."""
    from wan_fakes import small_vae

    from liveavatar.backends.wan.vae import StreamingWanVAE
    from liveavatar.backends.wan.vae_gpu import NormSilu, suit_gpu

    plain, suited = (small_vae().to(DEVICE, torch.bfloat16).requires_grad_(False) for _ in range(2))
    suited = suit_gpu(suited)
    norm = next(module for module in suited.modules() if isinstance(module, NormSilu))
    x = torch.randn(2, len(norm.norm.gamma), 3, 5, 7, device=DEVICE, dtype=torch.bfloat16)
    assert off(norm(x), torch.nn.functional.silu(norm.norm(x))) < 1e-3
    latents = torch.randn(1, 16, 3, 8, 8, device=DEVICE, dtype=torch.bfloat16)
    with torch.inference_mode():
        assert off(*(StreamingWanVAE(vae).to(DEVICE).decode_stream(latents)[0] for vae in (suited, plain))) < 0.02


def test_recordings_share_memory_and_the_first_may_end_before_the_others():
    from liveavatar.training.learner import Recording

    weight = nn.Parameter(torch.tensor([2.0, 3.0], device=DEVICE))
    x = torch.tensor([1.0, 5.0], device=DEVICE)

    def loss(x):
        value = (weight * x).square().sum()
        value.backward()
        return value.detach()

    for _ in range(3):
        recorded = Recording(loss, [weight])
        for _ in range(2):
            assert recorded(x).item() == 4 + 225 and weight.grad.tolist() == [4, 150]
        del recorded
        weight.grad = None


@pytest.mark.parametrize("options", [{"compile": True}, {"fp8": True, "fp8_attention": True},
                                     {"fp8": True, "fp8_attention": True, "compile": True}])
def test_another_gpu_than_the_first_makes_the_same_latents(told, options):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    first, second = (latents(load(device=f"cuda:{number}", **options), told).cpu() for number in range(2))
    assert torch.equal(first, second)


def test_steps_over_two_gpus_make_the_same_latents(pipe, told, tmp_path):
    """torchrun, NCCL for nothing but their being two: latents travel over gloo, as everywhere."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    import subprocess
    import sys
    from pathlib import Path

    script = tmp_path / "ranks.py"
    script.write_text(RANKS.format(tests=str(Path(__file__).parent), out=str(tmp_path)))
    run = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
                          str(script)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    expected = [step.x for step in pipe.steps(told, config=CONFIG) if step.last]
    made = torch.load(tmp_path / "latents.pt")
    assert len(made) == len(expected)
    assert all(torch.equal(ours, theirs.cpu()) for ours, theirs in zip(made, expected, strict=True))


RANKS = """
import os, sys, threading
sys.path[:0] = [{tests!r}, {tests!r} + "/.."]
import torch
rank = int(os.environ["RANK"])
torch.cuda.set_device(rank)
from fakes import face, tone
from test_wan_gpu import CONFIG, WIDE
import liveavatar
from liveavatar.parallel import Layout, RankGroup, SpanRecorder, denoise
pipe = liveavatar.load("wan-s2v-14b", weights="random", config=WIDE, conditioning="multi-gpu", device=f"cuda:{{rank}}")
told = pipe.condition(tone(3.0), face(80, 80), "hello", CONFIG)
with RankGroup() as group:
    layout = Layout.of(CONFIG.sample_steps, group.ranks)
    recorder = SpanRecorder(group.rank, group.began_s)
    made = [x.cpu() for _, x in denoise(pipe.backend, told, CONFIG, group, layout, recorder, threading.Event())]
    if rank == layout.vae_rank:
        torch.save(made, {out!r} + "/latents.pt")
"""


@pytest.mark.filterwarnings("ignore:no LoRA")
def test_the_released_folders_end_in_pictures(tmp_path):
    pipe = liveavatar.load("wan-s2v-14b", checkpoint_dir=write_checkpoint(tmp_path / "ckpt"), config=LOADED)
    blocks = [event for event in pipe.events(tone(0.9), face(80, 80), "a dwarf laughs", CONFIG)
              if isinstance(event, Block)]
    assert [len(block.frames) for block in blocks] == [12, 11]


def test_compiled_layers_compute_what_plain_ones_do(pipe, told):
    plain, compiled = latents(pipe, told).float(), latents(load(compile=True), told).float()
    assert (plain - compiled).norm() / plain.norm() < 0.05
