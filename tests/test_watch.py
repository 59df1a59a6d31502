"""Any diffusers pipeline under watch: the same numbers as without, steps in one convention, nothing left behind."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMPipeline,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from fakes import wait_until
from tiny_pipelines import TINY_PIPELINES

import liveavatar
from liveavatar.interop.latents import frames_in
from liveavatar.interop.noise_levels import noise_levels, predict
from liveavatar.interop.watching import latents_after, latents_before
from liveavatar.runs.info import FAILED, FINISHED, PAUSED, STOPPED
from liveavatar.runs.loading import replay
from liveavatar.types import Block, InputError, Step
from widgets import CacheView, LipView, MemoryView, Player, ScheduleView, StepGrid

STEPS = 3
LEARNT = torch.linspace(0.0001, 0.02, 1000).tolist()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str = "stable_diffusion_3") -> tuple:
    pipe, call = TINY_PIPELINES[name]()
    return pipe, call | {"num_inference_steps": STEPS, "output_type": "pt", "return_dict": False}


def watched(name: str = "stable_diffusion_3", **more):
    """A run of one call, and what the call returned."""
    pipe, call = make(name)
    with liveavatar.watch(pipe) as run:
        result = pipe(**{**call, "generator": seeded(), **more})
    return run, result[0]


# ------------------------------------------------------------------ every pipeline

@pytest.mark.parametrize("name", TINY_PIPELINES)
def test_a_pipeline_computes_the_same_and_all_its_steps_are_known(name):
    pipe, call = make(name)
    kind, scheduler, config = type(pipe), pipe.scheduler, dict(pipe.config)
    alone = pipe(**call, generator=seeded())[0]
    given = []                                                       # latents that the pipeline itself goes on with
    keep = {"callback_on_step_end": lambda pipe, i, t, tensors: given.append(tensors["latents"]) or {}}
    with liveavatar.watch(pipe) as run:
        result = pipe(**call, generator=seeded(), **keep)[0]
    assert torch.equal(alone, result)
    assert (type(pipe), pipe.scheduler, dict(pipe.config)) == (kind, scheduler, config)
    assert run.state == FINISHED and run.error is None and not [r for r in run.info.remarks if "not be recorded" in r]
    assert run.recorded_steps == tuple((0, index) for index in range(STEPS)) and run.info.steps == STEPS
    for index in range(STEPS):
        step = run.step_record(0, index)
        assert step.x.shape == step.clean.shape == step.velocity.shape and step.x.ndim == 5
        assert step.milliseconds > 0 and step.bytes["process"] > 0 and step.sigma > step.sigma_next
        if index:
            assert torch.allclose(latents_before(run, 0, index), latents_after(run, 0, index - 1), atol=1e-4)
    own = latents_after(run, 0, STEPS - 1).flatten().sort().values
    assert torch.allclose(own, given[-1].float().flatten().sort().values, atol=1e-6)       # whatever the layout
    pictures = run.blocks[0].frames
    decoded = run.new_decoder().decode(run.step_record(0, -1).x)
    assert decoded.shape == pictures.shape and (decoded.int() - pictures.int()).abs().max() <= 1
    assert len(pictures) == run.info.block_frames and run.total_s == run.done_s > 0


@pytest.mark.parametrize("scheduler", [
    DDIMScheduler(trained_betas=LEARNT, clip_sample=False), DDIMScheduler(trained_betas=LEARNT, clip_sample=True),
    DDIMScheduler(trained_betas=LEARNT, clip_sample=False, prediction_type="v_prediction", set_alpha_to_one=False),
    CogVideoXDDIMScheduler(prediction_type="v_prediction"), LCMScheduler(trained_betas=LEARNT),
    EulerDiscreteScheduler(trained_betas=LEARNT), EulerDiscreteScheduler(prediction_type="v_prediction"),
    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    UniPCMultistepScheduler(prediction_type="v_prediction"), DPMSolverMultistepScheduler(),
    DPMSolverMultistepScheduler(prediction_type="sample"),
], ids=lambda one: f"{type(one).__name__}-{one.config.prediction_type}")
def test_the_clean_latent_is_the_one_that_the_scheduler_predicts(scheduler):
    scheduler.set_timesteps(4)
    sample, output = (torch.randn(1, 4, 3, 5, generator=seeded(seed)) for seed in (1, 2))
    levels = noise_levels(scheduler)
    if hasattr(scheduler, "convert_model_output"):
        scheduler._step_index = 0
        theirs = scheduler.convert_model_output(output, sample=sample)
    else:
        sample = sample * scheduler.init_noise_sigma
        made = scheduler.step(output, scheduler.timesteps[0], sample)
        theirs = getattr(made, "pred_original_sample", None)
        theirs = made.denoised if theirs is None else theirs
        if isinstance(scheduler, LCMScheduler):
            level = levels[0]
            theirs = (sample - level.sigma * output) / level.alpha      # its own is mixed with the sample
    clean, velocity = predict(scheduler, sample, output, levels[0])
    assert len(levels) == 5 and torch.allclose(clean, theirs, atol=1e-4 * float(theirs.abs().max()))
    mixed = levels[0].alpha * clean + levels[0].sigma * (velocity + clean)
    assert torch.allclose(mixed, sample, atol=1e-4 * float(clean.abs().max()))


def test_flow_matching_of_rising_noise_levels_is_turned_round():
    """Mochi's: its sigmas rise from 0, noise, to 1, and its velocity points from noise to clean."""
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    scheduler.set_timesteps(sigmas=[1.0, 0.5])
    assert [level.share for level in noise_levels(scheduler)] == [1.0, 0.5, 0.0]
    clean, noise = (torch.randn(1, 2, 3, 3, generator=seeded(seed)) for seed in (1, 2))
    found, velocity = predict(scheduler, 0.5 * clean + 0.5 * noise, clean - noise, noise_levels(scheduler)[1])
    assert torch.allclose(found, clean, atol=1e-6) and torch.allclose(velocity, noise - clean, atol=1e-5)


# ------------------------------------------------------------------ what is kept and shown

@pytest.mark.parametrize("name", ["wan", "cogvideox"])
def test_a_watched_run_is_saved_and_every_view_shows_it_again(name, tmp_path):
    run, _ = watched(name)
    run.save(tmp_path / "run")
    again = replay(tmp_path / "run")
    assert again.info == run.info and again.recorded_steps == run.recorded_steps
    assert torch.equal(again.step_record(0, 1).clean, run.step_record(0, 1).clean)
    assert torch.equal(latents_after(again, 0, 1), latents_after(run, 0, 1))
    assert torch.equal(again.blocks[0].frames, run.blocks[0].frames)
    for source in (run, tmp_path / "run"):
        for view in (StepGrid, ScheduleView, MemoryView, Player):
            shown = view(source)
            body, buffers = shown.paint()
            assert shown.error == "" and body["run"]["steps"] == STEPS and shown.still() is not None, view
    assert MemoryView(tmp_path / "run").record.peak.bytes == run.memory.record.peak.bytes
    schedule = ScheduleView(run)
    assert schedule.sigmas == list(run.info.sigmas) and all(schedule.milliseconds)
    assert all(remark[1:] in StepGrid(run).paint()[0]["remarks"] for remark in run.info.remarks)
    opened = replay(tmp_path / "run", pipeline=run)                  # with the pipeline at hand, its decoder too
    assert (opened.step_frames.decode(0, 1) == run.step_frames.decode(0, 1)).all()
    assert not (run.step_frames.decode(0, 0) == run.step_frames.decode(0, STEPS - 1)).all()


def test_many_threads_may_decode_at_once():
    """As views do; the VAE of Wan keeps its state in itself."""
    run, _ = watched("wan")
    latents = [run.step_record(0, index).x for index in range(STEPS)]
    alone = [run.new_decoder().decode(one) for one in latents]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda turn: run.new_decoder().fork().decode(latents[turn % STEPS]), range(12)))
    assert all(torch.equal(made, alone[turn % STEPS]) for turn, made in enumerate(together))


def test_previews_have_the_colours_of_the_pictures_that_were_returned():
    run, _ = watched("stable_diffusion_3")
    assert run.latent_map().source == "fitted" and run.step_frames.preview(0, 1).shape == (1, 8, 8, 3)


def test_each_call_is_a_block_and_each_picture_of_a_batch():
    pipe, call = make()
    with liveavatar.watch(pipe) as run:
        one = pipe(**call, generator=seeded(1))[0]
        two = pipe(**call, generator=seeded(2), num_images_per_prompt=2)[0]
    assert run.trace.blocks == (0, 1, 2) and run.blocks_begun == 3 and run.total_s == 3
    for block, picture in zip(run.blocks, [*one, *two], strict=True):
        assert (block.frames[0].permute(2, 0, 1).float() / 255 - picture).abs().max() < 0.003
        assert torch.equal(block.latents, run.step_record(block.index, -1).x)
    assert [span.stage for span in run.spans].count("decode") == 3
    assert (run.step_frames.decode(1, 1) != run.step_frames.decode(2, 1)).any()            # blocks are decoded alone


def test_views_say_what_a_pipeline_does_not_have():
    run, _ = watched("stable_diffusion_3")
    for view, said in ((CacheView, "there are no caches to show"), (LipView, "was given no sound")):
        shown = view(run)
        shown.paint()
        assert shown.error.startswith("StableDiffusion3Pipeline") and said in shown.error


def test_a_player_shows_the_prediction_while_there_are_no_pictures():
    run, _ = watched("stable_diffusion_3", output_type="latent")
    player = Player(run)
    player.paint()
    assert player.error == "" and player.picture.shape == (16, 16, 3)


def test_half_precision_and_pictures_without_a_vae():
    pipe, call = make("stable_diffusion_3")
    for network in (pipe.transformer, pipe.vae):
        torch.nn.Module.to(network, torch.bfloat16)
    halved = {name: value.bfloat16() if isinstance(value, torch.Tensor) else value for name, value in call.items()}
    network = UNet2DModel(sample_size=16, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2,
                          attention_head_dim=4, down_block_types=("DownBlock2D",) * 2,
                          up_block_types=("UpBlock2D",) * 2)
    plain = DDIMPipeline(network, DDIMScheduler())
    plain.set_progress_bar_config(disable=True)
    for one, arguments in ((pipe, halved), (plain, {"num_inference_steps": STEPS})):
        with liveavatar.watch(one) as run:
            one(**arguments)
        decoded = run.step_frames.decode(0, STEPS - 2), run.new_decoder().decode(run.step_record(0, -1).x)
        assert len(run.recorded_steps) == STEPS and decoded[0].shape == (1, 16, 16, 3)
        assert (decoded[1].int() - run.blocks[0].frames.int()).abs().max() <= 4         # theirs is rounded to 8 bits


def test_a_loop_of_another_kind_is_not_mixed_in():
    pipe, call = make()
    with liveavatar.watch(pipe) as run:
        pipe(**call)
        pipe(**call | {"num_inference_steps": 2})
    assert run.trace.blocks == (0,) and any("a run holds loops of one kind" in remark for remark in run.info.remarks)


def test_latents_that_a_callback_changes_are_those_of_the_step():
    def dim(pipe, index, timestep, tensors):
        return {"latents": tensors["latents"] * 0.5}

    run, changed = watched("stable_diffusion_3", callback_on_step_end=dim)
    _, plain = watched("stable_diffusion_3")
    assert not torch.equal(changed, plain)
    assert torch.allclose(latents_before(run, 0, 2), latents_after(run, 0, 1), atol=1e-5)


def test_choices_of_the_call_are_kept():
    run, _ = watched("wan_image_to_video")
    config = run.info.config
    assert (config["height"], config["base_seed"], config["sample_steps"]) == (16, 0, STEPS)
    assert config["scheduler"] == "FlowMatchEulerDiscreteScheduler" and run.info.solver == "euler"
    assert run.portrait.pixels.shape == (3, 16, 32) and abs(float(run.portrait.pixels[0].mean()) - 200 / 255) < 0.01


def test_time_in_a_video_follows_from_its_latent_frames():
    run, _ = watched("cogvideox")                                    # three latent frames, nine pictures
    assert [run.info.latent_of(frame) for frame in range(9)] == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert run.info.total_s == 9 / 8 and run.info.latent_at(0.2) == 1
    assert frames_in(9, 3) == {"frames_per_latent": 4, "first_frames": 1}
    assert frames_in(16, 16) == {"frames_per_latent": 1, "first_frames": 1} and frames_in(1, 1)["first_frames"] == 1


@pytest.mark.parametrize("more, said", [
    ({"output_type": "latent"}, "returned latents"),
    ({"callback_on_step_end": lambda pipe, *given: setattr(pipe, "_interrupt", True) or {}}, "ended after 1 of the 3"),
])
def test_what_a_call_does_not_give_is_said(more, said):
    run, _ = watched("stable_diffusion_3", **more)
    assert any(said in remark for remark in run.info.remarks), run.info.remarks
    assert run.step_frames.decode(0, len(run.recorded_steps) - 1).shape == (1, 16, 16, 3)


def test_noise_levels_that_do_not_fall_are_said_in_the_view():
    pipe, call = make("stable_diffusion_xl")
    pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    with liveavatar.watch(pipe) as run:
        pipe(**call, generator=seeded())
    assert len(run.recorded_steps) == 2 * STEPS - 1                            # Heun asks the network twice a step
    assert "do not fall with every step" in ScheduleView(run).error and StepGrid(run).error == ""


def test_a_scheduler_that_ends_before_noise_0_is_said_in_the_view():
    pipe, call = make("stable_diffusion_xl")
    pipe.scheduler = DDIMScheduler(set_alpha_to_one=False, clip_sample=False)
    with liveavatar.watch(pipe) as run:
        pipe(**call, generator=seeded())
    assert "The run ends at noise 0.0" in ScheduleView(run).note


# ------------------------------------------------------------------ beginning and end

def test_after_an_exception_nothing_is_left_behind():
    pipe, call = make()
    kind, scheduler = type(pipe), pipe.scheduler

    def fail(pipe, index, timestep, tensors):
        raise RuntimeError("on purpose")

    run = liveavatar.watch(pipe)
    with pytest.raises(RuntimeError, match="on purpose"), run:
        pipe(**call, callback_on_step_end=fail)
    assert (run.state, str(run.error)) == (FAILED, "on purpose") and not run.memory.going
    assert type(pipe) is kind and pipe.scheduler is scheduler and "step" not in vars(scheduler)
    assert pipe(**call)[0].shape == (1, 3, 16, 16)
    with pytest.raises(InputError, match="recorded already"), run:
        pass


def test_within_the_with_a_pipeline_looks_like_itself(tmp_path):
    pipe, call = make("wan")
    plain = (type(pipe).__name__, dict(pipe.config), set(pipe.components))
    with liveavatar.watch(pipe) as run:
        assert (type(pipe).__name__, dict(pipe.config), set(pipe.components)) == plain
        other = copy.deepcopy(pipe.scheduler)                        # as some pipelines do for a second stream
        other.set_timesteps(2)
        other.step(torch.ones(1, 2, 1, 2, 2), other.timesteps[0], torch.ones(1, 2, 1, 2, 2))
        with pytest.raises(InputError, match="watched already"), liveavatar.watch(pipe):
            pass
    assert len(run.trace) == 0 and run.state == FINISHED
    chosen = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    with liveavatar.watch(pipe) as run:
        pipe.scheduler = chosen
        pipe(**call)
    assert pipe.scheduler is chosen and any("no step was recorded" in remark for remark in run.info.remarks)


def test_what_cannot_be_watched_is_refused_with_a_remedy():
    pipe, _ = make()
    with pytest.raises(InputError, match="fps is 0; give the frames"):
        liveavatar.watch(pipe, fps=0)
    with pytest.raises(InputError, match="object has no scheduler"):
        liveavatar.watch(object())
    from diffusers import EDMEulerScheduler
    pipe.scheduler = EDMEulerScheduler()
    with pytest.raises(InputError, match="EDMEulerScheduler, whose predictions are not known"):
        liveavatar.watch(pipe)
    pipe, _ = make("flux")
    with pytest.raises(InputError, match="begins when it is called"):
        liveavatar.watch(pipe).start()


def test_another_thread_stops_and_steps_a_call():
    pipe, call = make()
    run = liveavatar.watch(pipe)
    run.subscribe(lambda event: run.stop() if isinstance(event, Step) and event.index == 1 else None)
    with run:
        pipe(**call)
    assert run.state == STOPPED and len(run.recorded_steps) == 2

    run = liveavatar.watch(pipe)
    run.subscribe(lambda event: run.pause() if isinstance(event, Step) and event.index == 0 else None)
    with run:
        worker = threading.Thread(target=lambda: pipe(**call))
        worker.start()
        wait_until(lambda: run.state == PAUSED and len(run.recorded_steps) == 1)
        run.step()
        wait_until(lambda: run.state == PAUSED and len(run.recorded_steps) == 2)
        run.resume()
        worker.join(300)
    assert len(run.recorded_steps) == STEPS and run.subscriber_errors == [] and isinstance(run.blocks[0], Block)


def test_a_pause_that_nobody_could_end_is_refused():
    pipe, call = make()
    run = liveavatar.watch(pipe)
    run.subscribe(lambda event: run.pause() if isinstance(event, Step) else None)
    with run:
        pipe(**call)
    assert len(run.recorded_steps) == STEPS and "main thread" in str(run.subscriber_errors[0][1])
