"""`liveavatar generate`: sound and picture to a video, once more, by several processes, or going on with a run."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.cli.outputs import check_file, output_of
from liveavatar.cli.parsing import add_output, add_stretch, levels, student_name
from liveavatar.config import GenerationConfig
from liveavatar.files import printable, user_path
from liveavatar.signals import Stop, stop_on_signals
from liveavatar.switches import add_switch
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.runs.recipe import Recipe
    from liveavatar.types import Speech
    from liveavatar.video import Video

DEFAULTS = GenerationConfig()
DEFAULT_STUDENT = 4
DEFAULT_VOICE = "espeak:en-us"
DEFAULT_OUTPUT = "out.mp4"


def generate(asked: argparse.Namespace) -> int:
    """Make a video in which a portrait speaks; return the exit code. Raises InputError for what cannot be used."""
    if asked.resume is not None:
        return go_on(asked)
    recipe = None if asked.again is None else use_recipe(asked)
    options = load_options(asked)
    settings = {option.name: getattr(asked, option.name) for option in fields(GenerationConfig)
                if getattr(asked, option.name, None) is not None}
    config = GenerationConfig(**settings)
    if recipe is None:
        check_names(asked)
    if asked.teacher is False and config.guidance != 1.0:
        raise InputError(f"--sample_guide_scale is {config.guidance}; only the many-step base gains from guidance: "
                         "add --teacher, or leave it out")

    from liveavatar.video import check_output  # from here on libraries are needed, weights are not yet

    output = check_output(output_of(asked, DEFAULT_OUTPUT))
    from liveavatar import pipeline
    from liveavatar.backends import find

    if find(asked.backend).on_card:
        from liveavatar.vram.fit import check_fit

        check_fit(config, options, asked.force)
    audio = spoken(asked.text, asked.voice) if asked.text is not None else asked.audio
    if recipe is not None:
        from liveavatar.runs import inputs_of

        audio, asked.image = inputs_of(recipe, audio, asked.image)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:         # one of several processes that torchrun has started
        return by_many(asked, audio, config, output, options)
    with stop_on_signals() as stop:
        video = pipeline.generate(audio, asked.image, asked.prompt, config, output=output,
                                  backend=asked.backend, run_dir=asked.run_dir, stop=stop, **options)
    return report(video, stop)


def use_recipe(asked: argparse.Namespace) -> Recipe:
    """Take from a video of ours all that was not given: model, prompt and settings. -> its recipe

    Raises InputError where the video has none.
    """
    from liveavatar.runs import read_recipe

    if asked.audio is not None and asked.text is not None:
        raise InputError("give either --audio speech.wav or --text \"Hello.\", not both")
    recipe = read_recipe(asked.again)
    for option in fields(GenerationConfig):
        given, kept = getattr(asked, option.name, None), getattr(recipe.config, option.name)
        if given is None or given == getattr(DEFAULTS, option.name):
            setattr(asked, option.name, kept)
    asked.prompt = asked.prompt or recipe.prompt
    model = recipe.backend
    asked.backend = model.get("name", asked.backend)
    if asked.dtype == "auto":
        asked.dtype = model.get("dtype", "auto")
    if model.get("student") is False:
        asked.teacher = True
    elif "student" in model and asked.student == DEFAULT_STUDENT:
        asked.student = model["student"]
    return recipe


def load_options(asked: argparse.Namespace) -> dict:
    """Return the options of the chosen model's `load`."""
    from liveavatar.backends.wan import options as wan

    if asked.backend == wan.NAME:
        asked.guidance = asked.guidance or None            # 0 in released scripts: the distilled model has none
        return wan.chosen(asked)
    wan.refuse_elsewhere(asked)
    return {"student": False if asked.teacher else asked.student, "dtype": asked.dtype, "compile": asked.compile,
            "device": asked.device, "weights": asked.weights}


def by_many(asked: argparse.Namespace, audio: object, config: GenerationConfig, output: Path, options: dict) -> int:
    """Generate by several processes, each with its own steps; return the exit code. Raises InputError for --run_dir."""
    if asked.run_dir is not None:
        raise InputError("--run_dir is kept by one process only; leave it out, or start without torchrun")
    from liveavatar import parallel

    try:
        with stop_on_signals() as stop:
            video = parallel.generate(audio, asked.image, asked.prompt, config, output=output, backend=asked.backend,
                                      stop=stop, **options)
    except parallel.PeerFailure as failure:
        print(f"liveavatar: {failure}", file=sys.stderr)
        parallel.exit_now(1)
    return 0 if video is None else report(video, stop)


def go_on(asked: argparse.Namespace) -> int:
    """Finish a run that was stopped or killed; return the exit code. Raises InputError where there is none."""
    given = [name for name in ("audio", "image", "text", "run_dir") if getattr(asked, name) is not None]
    if given:
        raise InputError(f"--resume goes on with the inputs of that run; leave out --{' and --'.join(given)}")
    if not (user_path(asked.resume) / "run.json").is_file():
        raise InputError(f"{asked.resume} holds no run (no run.json); give the folder that was passed as --run_dir")
    from liveavatar import pipeline

    output = None if asked.output is None else output_of(asked, DEFAULT_OUTPUT)      # None: the run's own file
    with stop_on_signals() as stop:
        return report(pipeline.resume(asked.resume, output=output, stop=stop), stop)


def check_names(asked: argparse.Namespace) -> None:
    """Refuse inputs that cannot be used, as far as their names alone tell."""
    if (asked.audio is None) == (asked.text is None):
        raise InputError("give either --audio speech.wav or --text \"Hello.\""
                         + (", not both" if asked.audio is not None else ""))
    if asked.image is None:
        raise InputError("--image is missing; give a portrait, or make one: "
                         "liveavatar avatar --seed 7 --output portrait.png")
    if asked.audio is not None:
        check_file("--audio", asked.audio, "a recording such as speech.wav")
    check_file("--image", asked.image, "a picture such as portrait.png")


def spoken(text: str, voice: str) -> Speech:
    """Let a synthetic voice say a text."""
    from liveavatar.speech import speak

    return speak(text, voice)


def report(video: Video, stop: Stop) -> int:
    """Print what was made; return the exit code."""
    if not video.frames:
        print("liveavatar: stopped before the first picture; nothing was written", file=sys.stderr)
        return stop.exit_code
    print(f"{printable(video.path)}: {video.duration_s:.2f} s of video, {video.x_realtime:.2f}x real time, first "
          f"picture after {video.first_picture_s:.2f} s" + ("" if video.complete else "; stopped before the end"))
    return 0 if video.complete else stop.exit_code


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Add the options of `generate`, in groups."""
    from liveavatar.backends.wan.options import add_options

    add_input_options(parser)
    add_video_options(parser)
    add_sampling_options(parser)
    add_model_options(parser)
    add_options(parser)
    state = parser.add_argument_group("going on after a stop or a crash")
    state.add_argument("--run_dir", help="keep what is needed to go on in this folder")
    state.add_argument("--resume", metavar="RUN_DIR", help="go on with the run in this folder")
    parser.set_defaults(run=generate)


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add what goes in: sound, portrait, words."""
    given = parser.add_argument_group("inputs")
    given.add_argument("--audio", help="recording: wav, mp3, flac, ogg, m4a ...")
    given.add_argument("--text", help="words to be spoken by a synthetic voice instead of a recording")
    given.add_argument("--voice", default=DEFAULT_VOICE, help="for --text (default: %(default)s)")
    given.add_argument("--image", help="portrait")
    given.add_argument("--again", metavar="VIDEO", help="make a video of ours, or a run folder, again: model, prompt "
                       "and settings are its own unless given here; inputs are found by their hashes beside it or in "
                       "the current folder")
    given.add_argument("--prompt", default="", help="how: gesture, mood, lighting, energy")
    add_stretch(given)


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Add what comes out: file, size, length, mark."""
    asked = parser.add_argument_group("video")
    add_output(asked, DEFAULT_OUTPUT, ".mp4 or .webm", "--save_file")
    asked.add_argument("--size", help="width*height, an area: the aspect follows the portrait (default: the model's)")
    asked.add_argument("--crop", help="of a photograph: auto, none, or a box left,top,right,bottom in pixels "
                                      "(default: auto)")
    asked.add_argument("--infer_frames", type=int, help=f"video frames in a clip (default: {DEFAULTS.infer_frames})")
    asked.add_argument("--num_clip", type=int, help="at most so many clips (default: as long as the sound)")
    add_switch(asked, "--label", None, "burn a small visible mark into the video (default: into that of a photograph)")


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Add how it is denoised: steps, seed, solver, schedule, strengths."""
    sampled = parser.add_argument_group("sampling")
    sampled.add_argument("--sample_steps", type=int, help=f"denoising steps (default: {DEFAULTS.sample_steps})")
    sampled.add_argument("--base_seed", type=int, help=f"one seed is one video (default: {DEFAULTS.base_seed})")
    sampled.add_argument("--sample_solver", help="euler or renoise (default: what the weights were trained with)")
    sampled.add_argument("--schedule", type=levels, help="trained, released, linear or noise levels: 1,0.9,0.75,0.5,0")
    sampled.add_argument("--sample_shift", dest="shift", type=float, help="(default: as the weights were trained)")
    sampled.add_argument("--portrait_strength", type=float, help="1: the whole portrait, less: blurred, 0: none "
                                                                 "(default: 1)")
    sampled.add_argument("--sound_strength", type=float, help="1: the sound as it is, less: mixed with noise, 0: none "
                                                              "(default: 1)")
    sampled.add_argument("--ring_frames", type=int, help="latent frames that a block sees, itself included: 3, 6, 9 "
                                                         "(default: as the weights were trained)")
    add_switch(sampled, "--portrait_sink", None, "see the portrait for the whole video (default), or False: only until "
                                                 "the ring is full")
    sampled.add_argument("--cache_level", help="own: earlier blocks are seen at the noise level of the step (default); "
                                               "clean: finished, from one cache, one pass more a block")
    sampled.add_argument("--sample_guide_scale", dest="guidance", type=float, help="with --teacher only (default: 1)")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add which model makes it, and where it runs."""
    model = parser.add_argument_group("model")
    model.add_argument("--backend", default="mini", help="(default: %(default)s)")
    add_switch(model, "--teacher", False, "the many-step base instead of the fast student")
    model.add_argument("--student", type=student_name, default=DEFAULT_STUDENT,
                       help="the student distilled for so many steps (default: %(default)s)")
    model.add_argument("--weights", default="shipped", help="shipped, random or a folder (default: %(default)s)")
    model.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (default: %(default)s)")
    model.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add_switch(model, "--compile", False, "compile first: needs a C++ compiler, pays for long videos")
    add_switch(model, "--enable_online_decode", True, "decode each block when it is ready (default), or all at the end")
    add_switch(model, "--force", False, "go on although the plan says that it will not fit (wan-s2v-14b)")
    add_switch(model, "--offload_model", None, "move parts to main memory while they rest (no effect on a CPU)")
