"""mini and wan-s2v-14b as a diffusers pipeline, on the stages of `liveavatar.pipeline`.

    pipe = LiveAvatarPipeline(liveavatar.load("mini").backend)
    video = pipe(image="portrait.png", audio="me.wav", prompt="smiling", generator=torch.Generator().manual_seed(420))
    pipe.save_pretrained("folder"); pipe = LiveAvatarPipeline.from_pretrained("folder")

One seed gives the latents that `liveavatar.load(...)` gives with `base_seed`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image as Pictures
from torch import Tensor

from liveavatar.backends import find
from liveavatar.config import GenerationConfig
from liveavatar.files import user_path, utf8_path
from liveavatar.pipeline import Pipeline, load_options
from liveavatar.types import InputError, Step

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from liveavatar.backends import Backend
    from liveavatar.inputs import Audio, Image
    from liveavatar.types import Prompt

OUTPUT_TYPES = ("np", "pil", "pt", "latent")
WEIGHTS = "model.safetensors"
FOLDERS = {"audio_encoder": "ear"}       # of saved networks, where another name was used when the format was made
DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}

Callback = Callable[[DiffusionPipeline, int, Tensor, dict], dict | None]


@dataclass
class LiveAvatarPipelineOutput(BaseOutput):
    """A video.

    frames      np (1, T, H, W, 3) and pt (1, T, 3, H, W) in 0..1, pil [[T images]], latent (1, C, F, h, w)
    fps         frames per second
    """

    frames: Tensor | np.ndarray | list[list[Pictures.Image]]
    fps: float


class LiveAvatarPipeline(DiffusionPipeline):
    """Make a portrait speak. backend: of `liveavatar.load(...)`, or `from_pretrained` on a folder of `save_pretrained`.

    Its networks are `transformer` and `vae`, and others by `networks()`. There is no scheduler object: the noise levels
    are those of the configuration. Setting `_interrupt` in a callback ends the video after that step.
    """

    _callback_tensor_inputs = ("latents",)

    def __init__(self, backend: Backend, options: dict | None = None) -> None:
        super().__init__()
        self.register_modules(backend=backend)
        about = backend.about()
        self.register_to_config(options=options or {"name": about["name"], **load_options(about)})
        self.pipeline = Pipeline(backend)
        self._interrupt = False

    # ------------------------------------------------------------------ what diffusers asks of a pipeline

    @property
    def transformer(self) -> torch.nn.Module:
        return self.backend.transformer

    @property
    def vae(self) -> torch.nn.Module:
        return self.backend.vae

    @property
    def device(self) -> torch.device:
        return self.backend.device

    @property
    def dtype(self) -> torch.dtype:
        return self.backend.transformer.dtype

    @property
    def interrupt(self) -> bool:
        return self._interrupt

    def networks(self) -> dict[str, torch.nn.Module]:
        """Return all networks by name."""
        return networks_of(self.backend)

    def to(self, *args: object, **kwargs: object) -> Self:
        """Do nothing where the networks are there already; else raise InputError: weights are prepared for their device
        and number format when they are loaded."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **{name: value for name, value in kwargs.items()
                                                            if name != "silence_dtype_warnings"})
        moves = device is not None and not same_device(device, self.device)
        if moves or (dtype is not None and dtype != self.dtype):
            raise InputError(f"this pipeline is on {self.device} in {self.dtype}; load it as you want it: "
                             "from_pretrained(folder, device='cuda', torch_dtype=torch.bfloat16)")
        return self

    # ------------------------------------------------------------------ the call

    @torch.no_grad()
    def __call__(self, image: Image, audio: Audio, prompt: str | Prompt = "", num_inference_steps: int = 4,
                 guidance_scale: float = 1.0, height: int | None = None, width: int | None = None,
                 generator: torch.Generator | None = None, output_type: str = "np", return_dict: bool = True,
                 callback_on_step_end: Callback | None = None,
                 callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...] = ("latents",),
                 config: GenerationConfig | None = None) -> LiveAvatarPipelineOutput | tuple:
        """Make a video.

        image, audio    files, or what `liveavatar.load_portrait` and `load_audio` take and return
        generator       its initial seed is the seed of the video; None draws one from torch's
        config          what else can be chosen: solver, schedule, duration_s, ...; the arguments above come first
        callback_on_step_end    called as callback(pipe, index, timestep, {"latents": x (1, C, F, h, w)}) after every
                        step of every block; timestep is 0..1000. It may look and interrupt, not change the latents

        Raises InputError for inputs that cannot be used.
        """
        if output_type not in OUTPUT_TYPES:
            raise InputError(f"output_type is {output_type!r}; known: {', '.join(map(repr, OUTPUT_TYPES))}")
        if set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs):
            raise InputError(f"callback_on_step_end_tensor_inputs is {list(callback_on_step_end_tensor_inputs)}; "
                             "a callback can be given ['latents']")
        asked = self._config(config, num_inference_steps, guidance_scale, height, width, generator)
        condition = self.pipeline.condition(audio, image, prompt, asked)
        stop, latents, pictures, self._interrupt = Event(), [], [], False
        makes = self.pipeline.steps(condition, config=asked) if output_type == "latent" else \
            self.pipeline.events(condition, config=asked, stop=stop)
        blocks = ceil(condition.frames / self.pipeline.block_frames)
        with self.progress_bar(total=blocks * num_inference_steps) as bar:
            for event in makes:
                if not isinstance(event, Step):
                    pictures.append(event.frames)
                    continue
                if event.last:
                    latents.append(event.x)
                bar.update()
                if callback_on_step_end is not None:
                    self._call_back(callback_on_step_end, event, callback_on_step_end_tensor_inputs)
                if self._interrupt:
                    stop.set()
                    if output_type == "latent":
                        makes.close()  # type: ignore[attr-defined]
        frames = as_output(latents if output_type == "latent" else pictures, output_type)
        return LiveAvatarPipelineOutput(frames, self.backend.fps) if return_dict else (frames,)

    def _config(self, config: GenerationConfig | None, steps: int, guidance: float, height: int | None,
                width: int | None, generator: torch.Generator | None) -> GenerationConfig:
        """Join what was asked for into one configuration."""
        if (height is None) != (width is None):
            raise InputError(f"height is {height} and width is {width}; give both, or neither")
        if generator is not None and not isinstance(generator, torch.Generator):
            raise InputError(f"generator is {type(generator).__name__}; give one torch.Generator: one video is made")
        seed = torch.randint(2**63 - 1, ()).item() if generator is None else generator.initial_seed() % 2**63
        size = {} if height is None else {"size": (height, width)}
        return replace(config or GenerationConfig(), sample_steps=steps, guidance=guidance, base_seed=seed, **size)

    def _call_back(self, callback: Callback, step: Step, names: list[str] | tuple[str, ...]) -> None:
        """Show a step to the caller, and refuse latents that were changed."""
        given = {"latents": step.x} if "latents" in names else {}
        outputs = callback(self, step.block * step.steps + step.index, torch.tensor(1000 * step.sigma), given) or {}
        if outputs.get("latents", step.x) is not step.x:
            raise InputError("callback_on_step_end returned other latents; here a callback can look and interrupt, "
                             "not change them: leave 'latents' out of what it returns")

    # ------------------------------------------------------------------ to a folder and back

    def save_pretrained(self, save_directory: str | os.PathLike, **unknown: object) -> None:
        """Write model_index.json and the weights of each network.

        The released weights (45 GB) are not copied: the folder then names the folders that they were loaded from.
        """
        if unknown:
            raise InputError(f"save_pretrained has no option {next(iter(unknown))!r}; give the folder alone")
        from safetensors.torch import save_model

        folder = user_path(save_directory)
        self.save_config(folder)
        if self.backend.about().get("weights") == "released":
            return
        for name, network in self.networks().items():
            place = folder / FOLDERS.get(name, name)
            place.mkdir(exist_ok=True)
            save_model(network, str(utf8_path(place) / WEIGHTS))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, torch_dtype: torch.dtype | None = None,
                        **options: object) -> Self:
        """Open a folder that `save_pretrained` wrote; options of `liveavatar.load` replace those it was saved with.

        Raises InputError where the folder holds no such pipeline or its weights do not fit.
        """
        path = user_path(folder)
        chosen = read_options(path) | options
        if torch_dtype is not None:
            if torch_dtype not in DTYPES:
                raise InputError(f"torch_dtype is {torch_dtype}; known: {', '.join(map(str, DTYPES))}")
            chosen["dtype"] = DTYPES[torch_dtype]
        name = chosen.pop("name")
        backend = find(name).load(**chosen)
        for part, network in networks_of(backend).items():
            fill(network, path / FOLDERS.get(part, part) / WEIGHTS)
        return cls(backend, {"name": name, **chosen})


def networks_of(backend: Backend) -> dict[str, torch.nn.Module]:
    """Return the networks of a backend by name: its own, and those inside its encoders."""
    transformer = backend.transformer                   # some backends read its weights only now
    others = {name: getattr(part, "network", part) for name, part in vars(backend).items()}
    return {"transformer": transformer} | {name: part for name, part in others.items()
                                           if isinstance(part, torch.nn.Module) and part is not transformer}


def read_options(folder: Path) -> dict:
    """Read what `save_pretrained` wrote about the backend: its name and the options of `load`."""
    try:
        about = json.loads((folder / LiveAvatarPipeline.config_name).read_text(encoding="utf-8"))
        return {"name": about["options"]["name"], **about["options"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no LiveAvatarPipeline ({error}); give a local folder that save_pretrained "
                         "wrote") from error


def fill(network: torch.nn.Module, path: Path) -> None:
    """Give a network the weights that were saved of it; a folder without them refers to those it was loaded from."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    if not path.exists():
        return
    try:
        load_model(network, str(utf8_path(path)), device=str(next(network.parameters()).device))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path} does not fit this version of the network ({str(error).splitlines()[0]}); save the "
                         "pipeline again") from error


def same_device(one: torch.device, other: torch.device) -> bool:
    """Tell whether two devices are the same; "cuda" is any of the GPUs."""
    return one.type == other.type and (one.index is None or one.index == other.index)


def as_output(parts: list[Tensor], output_type: str) -> Tensor | np.ndarray | list[list[Pictures.Image]]:
    """Join the parts of a video: latents (1, C, F, h, w), or pictures (T, H, W, 3) uint8."""
    if not parts:
        raise InputError("the video was interrupted before its first block was finished: there is nothing to return; "
                         "interrupt after the last step of a block")
    if output_type == "latent":
        return torch.cat(parts, 2)
    pictures = torch.cat(parts)
    if output_type == "pil":
        return [[Pictures.fromarray(picture) for picture in pictures.numpy()]]
    if output_type == "np":
        return pictures.numpy()[None].astype(np.float32) / 255
    return pictures.permute(0, 3, 1, 2)[None].float() / 255
