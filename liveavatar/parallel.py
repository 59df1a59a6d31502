"""One video by several processes: timestep pipelining (TPP). Each owns a run of steps and the caches of those steps.

    torchrun --nproc_per_node 3 -m liveavatar generate --audio speech.wav --image portrait.png

    rank 0   | block 0: steps 0 1 | block 1: steps 0 1 | block 2 ...
    rank 1                        | block 0: steps 2 3 | block 1: steps 2 3 | ...
    rank 2                                             | block 0: pictures  | block 1 ...

A step's cache never leaves its rank: with timestep forcing a block only looks back at its own noise level. What travels
down the chain are latents, some hundred kilobytes a block, through main memory (gloo), whatever the devices are. Every
rank prefills the condition for itself. The result is the one of a single process, bit for bit, whatever number of
threads each has.

When one process dies the others stop within seconds and say so; what is done of the video can be played.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from liveavatar.config import GenerationConfig
from liveavatar.files import user_path, write_whole
from liveavatar.types import InputError

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.cache import RingCache
    from liveavatar.inputs import Audio, Image, Inputs
    from liveavatar.pipeline import Pipeline
    from liveavatar.rollout import Constants
    from liveavatar.types import Condition, Prompt
    from liveavatar.video import Video

BEAT_S = 0.25                # between two signs of life
SILENCE_S = 10.0             # without one a process counts as gone; one that crashes is noticed at once
PATIENCE_S = 600.0           # for the others to load their weights
WORK = ("prepare", "wait", "step", "decode")        # of a rank, in its time line
MOST_RANKS = 10_000          # that a time line may have
STOP = -1                    # in the place of a block's number: no more will come


class PartnerGone(RuntimeError):
    """Another process of this run has ended, so this one cannot go on."""


# ------------------------------------------------------------------------------------------------ who does what

@dataclass(frozen=True)
class Layout:
    """Which rank takes which steps, and which one decodes."""

    steps: int
    ranks: int
    own_vae: bool            # the VAE has a rank for itself

    @classmethod
    def of(cls, steps: int, ranks: int, vae: str = "auto") -> Layout:
        """vae: "own", "shared" (with the last steps), or "auto": its own once every step has a rank."""
        if vae not in ("auto", "own", "shared"):
            raise InputError(f"vae is {vae!r}; known: auto, own, shared")
        if steps < 1 or ranks < 1:
            raise InputError(f"{steps} steps over {ranks} processes; both must be at least 1")
        if vae == "own" and ranks == 1:
            raise InputError("one process cannot give the VAE a rank of its own; use vae=\"shared\" or start two")
        return cls(steps, ranks, vae == "own" or (vae == "auto" and ranks > steps))

    @property
    def movers(self) -> int:
        """Ranks that denoise."""
        return min(self.steps, self.ranks - self.own_vae)

    @property
    def vae_rank(self) -> int:
        return self.movers if self.own_vae else self.movers - 1

    def owned(self, rank: int) -> range:
        """The steps of a rank; the first ranks take one more where they do not come out even."""
        if rank >= self.movers:
            return range(0)
        share, more = divmod(self.steps, self.movers)
        first = rank * share + min(rank, more)
        return range(first, first + share + (rank < more))

    def words(self, rank: int) -> str:
        """What a rank does."""
        steps = self.owned(rank)
        if not steps:
            return "VAE" if rank == self.vae_rank else "nothing: more devices than work"
        named = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
        return named + (" and VAE" if rank == self.vae_rank else "")


# ------------------------------------------------------------------------------------------------ who did what

@dataclass(frozen=True)
class Span:
    """A stretch of one rank's time."""

    rank: int
    what: str                # "prepare", "wait", "step", "decode"
    block: int               # -1 where there is none
    step: int
    began_s: float           # since the run began; the ranks' clocks are those of their machines
    ended_s: float


@dataclass(frozen=True)
class Timeline:
    """Who did which step of which block when."""

    spans: tuple[Span, ...]
    ranks: int

    def of(self, rank: int, what: str) -> tuple[Span, ...]:
        return tuple(span for span in self.spans if span.rank == rank and span.what == what)

    def busy(self, rank: int) -> float:
        """The share of the time between the first step and the last picture that a rank worked."""
        work = [span for span in self.spans if span.what in ("step", "decode")]
        if not work:
            return 0.0
        whole_s = max(span.ended_s for span in work) - min(span.began_s for span in work)
        return sum(span.ended_s - span.began_s for span in work if span.rank == rank) / max(whole_s, 1e-9)

    def save(self, path: str | os.PathLike) -> Path:
        path = user_path(path)
        text = json.dumps({"ranks": self.ranks, "spans": [asdict(span) for span in self.spans]})
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Timeline:
        try:
            about = json.loads(user_path(path).read_text(encoding="utf-8"))
            timeline = cls(tuple(Span(**span) for span in about["spans"]), about["ranks"])
            timeline._check()
            return timeline
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no time line that can be read ({error}); one is written beside every video "
                             "made by torchrun") from error

    def _check(self) -> None:
        """Raise ValueError where a value is not what it should be."""
        if isinstance(self.ranks, bool) or not isinstance(self.ranks, int) or not 1 <= self.ranks <= MOST_RANKS:
            raise ValueError(f"{self.ranks!r} ranks")
        for span in self.spans:
            whole = all(isinstance(value, int) for value in (span.rank, span.block, span.step))
            timed = all(isinstance(value, (int, float)) and isfinite(value) for value in (span.began_s, span.ended_s))
            if not whole or not timed or not 0 <= span.rank < self.ranks or span.what not in WORK:
                raise ValueError(f"{span}")


def gantt(timeline: Timeline, blocks: int = 8) -> object:
    """A matplotlib Figure: a row a rank, a bar a step, one colour a block, waiting in grey."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shown = [span for span in timeline.spans if -1 <= span.block < blocks and span.what != "prepare"]
    if not shown:
        raise InputError("the time line is empty; it is recorded while a video is made by several processes")
    began_s = min((span.began_s for span in shown if span.what == "step"), default=shown[0].began_s)
    figure = Figure(figsize=(9, 0.9 + 0.5 * timeline.ranks), layout="constrained")
    axes = figure.subplots()
    for span in shown:
        length_s = span.ended_s - span.began_s
        left_s = max(span.began_s - began_s, 0.0)
        if span.what == "wait":
            axes.barh(span.rank, length_s - max(began_s - span.began_s, 0), left=left_s, height=0.18, color="#c8c8c8")
            continue
        axes.barh(span.rank, length_s, left=left_s, height=0.7, color=colormaps["tab10"](span.block % 10),
                  edgecolor="white", hatch="//" if span.what == "decode" else None)
        axes.text(left_s + length_s / 2, span.rank, "VAE" if span.what == "decode" else str(span.step), fontsize=7,
                  ha="center", va="center", color="white", clip_on=True)
    axes.set(yticks=range(timeline.ranks), yticklabels=[f"rank {rank}" for rank in range(timeline.ranks)],
             xlabel="seconds since the first step; one colour is one block, numbers are steps, grey is waiting")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


class Notes:
    """A rank's own part of the time line, in the making."""

    def __init__(self, rank: int, began_s: float) -> None:
        self.spans: list[Span] = []
        self._rank, self._began_s = rank, began_s

    @contextmanager
    def span(self, what: str, block: int = -1, step: int = -1) -> Iterator[None]:
        began = time.time()
        yield
        self.spans.append(Span(self._rank, what, block, step, began - self._began_s, time.time() - self._began_s))


# ------------------------------------------------------------------------------------------------ the company

class Company:
    """The processes of one run: signs of life, trouble told to all, and latents sent to the next one.

    Nobody waits in a call that cannot be left: blocking calls are made in threads of their own, and whoever waits for
    them looks every few milliseconds whether all are still there.
    """

    def __init__(self) -> None:
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name not in os.environ:
                raise InputError(f"{name} is not set; start with torchrun: torchrun --nproc_per_node 2 -m liveavatar "
                                 "generate ...")
        self._store, self.rank, self.ranks = next(dist.rendezvous("env://"))
        self._trouble = ""
        self._over = threading.Event()
        self._mail: list[Mail] = []
        dist.init_process_group("gloo", store=dist.PrefixStore("mail", self._store), rank=self.rank,
                                world_size=self.ranks)
        self._signs = dist.PrefixStore("signs", self._store.clone() if hasattr(self._store, "clone") else self._store)
        self._signs.set(f"beat {self.rank}", "0")
        if self.rank == 0:
            self._signs.set("began", repr(time.time()))
        self._ask(lambda: self._signs.check(["began", *(f"beat {rank}" for rank in range(self.ranks))]), "all to come")
        self.began_s = float(self._signs.get("began"))
        self._heart = threading.Thread(target=self._beat, name="liveavatar-signs", daemon=True)
        self._heart.start()

    def __enter__(self) -> Company:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if error is not None and not isinstance(error, PartnerGone):
            self.tell(f"rank {self.rank} has failed: {error or kind.__name__}")
        self.leave(cleanly=error is None)

    def check(self) -> None:
        """Raise PartnerGone when another process has ended."""
        if self._trouble:
            raise PartnerGone(f"rank {self.rank} stops: {self._trouble}. What is done of the video is kept; start "
                              "the command again to make it whole")

    def tell(self, trouble: str) -> None:
        """Tell all the others why it cannot go on."""
        self._trouble = self._trouble or trouble
        try:
            self._signs.compare_set("trouble", "", trouble)
        except RuntimeError:
            pass                                          # nobody is left to be told

    def mail_to(self, rank: int) -> Mail:
        return self._open(lambda box: self._send(box, rank))

    def mail_from(self, rank: int, like: Tensor) -> Mail:
        """like: a tensor of the shape and type that will come."""
        return self._open(lambda box: self._receive(box, rank, like))

    def share(self, name: str, text: str) -> None:
        self._signs.set(f"{name} {self.rank}", text)

    def collect(self, name: str) -> list[str]:
        """What all have shared under a name; waits for it."""
        keys = [f"{name} {rank}" for rank in range(self.ranks)]
        self._ask(lambda: self._signs.check(keys), f"the {name} of all")
        return [self._signs.get(key).decode() for key in keys]

    def leave(self, cleanly: bool = True) -> None:
        """Say goodbye. Cleanly: after all that was sent has gone."""
        if cleanly:
            self.share("goodbye", "")
            try:
                self.collect("goodbye")                   # nobody hangs up while another still listens
            except PartnerGone:
                cleanly = False
        self._over.set()
        if cleanly:
            self._heart.join(2)
            dist.destroy_process_group()

    # ------------------------------------------------------------------ inside

    def _ask(self, ready: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not ready():
            self.check()
            if time.monotonic() > until:
                raise PartnerGone(f"rank {self.rank} stops: it waited {PATIENCE_S:g} s in vain for {what}")
            time.sleep(0.01)

    def _beat(self) -> None:
        """Give signs of life, and look for those of the others and for trouble."""
        count, heard = 0, {rank: ("", time.monotonic()) for rank in range(self.ranks) if rank != self.rank}
        while not self._over.wait(BEAT_S) and not self._trouble:
            count += 1
            try:
                self._signs.set(f"beat {self.rank}", str(count))
                if self._signs.check(["trouble"]):
                    self._trouble = self._trouble or self._signs.get("trouble").decode()
                for rank, (last, when) in heard.items():
                    beat = self._signs.get(f"beat {rank}").decode()
                    if beat != last:
                        heard[rank] = (beat, time.monotonic())
                    elif time.monotonic() - when > SILENCE_S:
                        self.tell(f"rank {rank} has given no sign of life for {SILENCE_S:g} s")
            except RuntimeError:
                if not self._over.is_set():
                    self._trouble = self._trouble or "the process that keeps all together (rank 0 or torchrun) has gone"

    def _open(self, carry: Callable[[Mail], None]) -> Mail:
        box = Mail(self)
        box.start(carry)
        self._mail.append(box)
        return box

    def _send(self, box: Mail, rank: int) -> None:
        try:
            while True:
                block, latents = box.take()
                dist.send(torch.tensor([block]), rank)
                if block == STOP:
                    break
                dist.send(bytes_of(latents), rank)
        except PartnerGone:
            return                                        # whoever waits for this mail is told the same
        except RuntimeError:
            self._lost(rank)

    def _receive(self, box: Mail, rank: int, like: Tensor) -> None:
        try:
            while True:
                number = torch.zeros(1, dtype=torch.int64)
                dist.recv(number, rank)
                if number.item() == STOP:
                    box.put(STOP, None)
                    break
                latents = torch.empty(like.shape, dtype=like.dtype)
                dist.recv(bytes_of(latents), rank)
                box.put(int(number), latents)
        except PartnerGone:
            return
        except RuntimeError:
            self._lost(rank)

    def _lost(self, rank: int) -> None:
        if not self._over.is_set():
            self.tell(f"rank {rank} has gone (its connection was closed)")


class Mail:
    """Latents on their way from one rank to the next, or waiting there: two blocks at most, so nobody runs away."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._box: queue.Queue = queue.Queue(2)
        self._thread: threading.Thread | None = None

    def start(self, carry: Callable[[Mail], None]) -> None:
        self._thread = threading.Thread(target=carry, args=(self,), name="liveavatar-mail", daemon=True)
        self._thread.start()

    def put(self, block: int, latents: Tensor | None) -> None:
        while True:
            self._company.check()
            try:
                return self._box.put((block, latents), timeout=0.05)
            except queue.Full:
                pass

    def take(self) -> tuple[int, Tensor | None]:
        while True:
            self._company.check()
            try:
                return self._box.get(timeout=0.05)
            except queue.Empty:
                pass

    def finish(self) -> None:
        """Nothing more will be put in; wait until all has gone."""
        self.put(STOP, None)
        while self._thread.is_alive():
            self._company.check()
            self._thread.join(0.05)


def bytes_of(latents: Tensor) -> Tensor:
    """The same memory as plain bytes: any type of number can travel."""
    return latents.view(torch.uint8)


# ------------------------------------------------------------------------------------------------ the work

@torch.inference_mode()
def some_steps(backend: Backend, constants: Constants, config: GenerationConfig, block: int, steps: range,
               x: Tensor | None, caches: dict[int, RingCache], notes: Notes) -> Tensor:
    """Take a block through some of its steps. x: latents after the step before, None before the first.

    The block's own generator is brought to where it would stand in a single process. caches are replaced as they go on.
    """
    from liveavatar.rollout import audio_of_block, block_generator
    from liveavatar.sampler import move
    from liveavatar.transformer import Context

    model, cond, sigmas = backend.transformer, constants.cond, constants.schedule.sigmas
    reference = cond.condition.reference
    shape = (1, reference.shape[1], backend.block_latents, *reference.shape[-2:])
    frames = backend.block_latents * backend.frames_per_latent
    generator = block_generator(config.base_seed, block)
    noise = torch.randn(shape, generator=generator)
    x = noise if x is None else x
    x = x.to(backend.device, model.dtype)
    audio = audio_of_block(cond.condition.audio, block, frames, backend.sees_past_sound).to(backend.device)
    context = Context(cond.text, model.encode_audio(audio))
    pose = cond.condition.pose
    if pose is not None:
        first = block * backend.block_latents
        pose = pose[:, :, first:first + backend.block_latents].to(backend.device)
    rope = model.rope_tables(block * backend.block_latents, backend.block_latents, cond.portrait)
    for index in range(steps.stop):
        sigma, sigma_next = sigmas[index], sigmas[index + 1]
        draws = constants.solver == "renoise" and sigma_next > 0
        fresh = torch.randn(shape, generator=generator, dtype=torch.float32) if draws else None
        if index not in steps:
            continue                                      # another rank's; only its random draw had to be passed
        with notes.span("step", block, index):
            velocity, caches[index] = model(x, constants.levels[index], context, cond.portrait, caches[index],
                                             pose, rope)
            x = move(x, velocity, sigma, sigma_next, constants.solver, None if fresh is None else fresh.to(x))
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
    return x


def denoise(backend: Backend, condition: Condition, config: GenerationConfig, company: Company, layout: Layout,
            notes: Notes, stop: threading.Event) -> Iterator[tuple[int, Tensor]]:
    """This rank's part of every block: (block, latents) after its last step. It sends them on where they go on."""
    from liveavatar.rollout import constants_of, new_caches

    steps, blocks = layout.owned(company.rank), ceil(condition.frames / (backend.block_latents
                                                                         * backend.frames_per_latent))
    with notes.span("prepare"):
        constants = constants_of(backend, condition, config)
        caches = dict(zip(steps, new_caches(backend, constants.cond.portrait, len(steps)), strict=True))
    coming = company.mail_from(company.rank - 1, latents_like(backend, condition)) if company.rank else None
    going = company.mail_to(company.rank + 1) if company.rank != layout.vae_rank else None
    for block in range(blocks):
        company.check()
        x = None
        if coming is not None:
            with notes.span("wait", block):
                number, x = coming.take()
            if number == STOP:
                break
        elif stop.is_set():
            break
        x = some_steps(backend, constants, config, block, steps, x, caches, notes)
        if going is not None:
            going.put(block, x.cpu().contiguous())
        yield block, x
    if going is not None:
        going.finish()


def arrivals(backend: Backend, condition: Condition, company: Company, notes: Notes) -> Iterator[tuple[int, Tensor]]:
    """Finished latents at a rank that only decodes."""
    coming = company.mail_from(company.rank - 1, latents_like(backend, condition))
    for block in range(ceil(condition.frames / (backend.block_latents * backend.frames_per_latent))):
        with notes.span("wait", block):
            number, latents = coming.take()
        if number == STOP:
            break
        yield number, latents


def latents_like(backend: Backend, condition: Condition) -> Tensor:
    """A block's latents as they travel."""
    reference = condition.reference
    return torch.empty((1, reference.shape[1], backend.block_latents, *reference.shape[-2:]),
                       dtype=backend.dtype, device="meta")


# ------------------------------------------------------------------------------------------------ the whole

def generate(audio: Audio, image: Image, prompt: str | Prompt = "", config: GenerationConfig | None = None, *,
             output: str | os.PathLike = "out.mp4", backend: str = "mini", vae: str = "auto",
             stop: threading.Event | None = None, progress: bool = True, **options: object) -> Video | None:
    """`pipeline.generate` by all processes that torchrun has started. The rank that decodes returns the video, the
    others None. Beside the video a time line is written: out.timeline.json.
    """
    from liveavatar.backends import find_for
    from liveavatar.inputs import prepare, remark_on
    from liveavatar.pipeline import load_once
    from liveavatar.video import check_output

    config = config or GenerationConfig()
    if config.guidance != 1.0:
        raise InputError(f"guidance is {config.guidance}; it is made by one process only: start without torchrun, or "
                         "leave it at 1.0")
    kind = find_for(backend, options)
    path = check_output(output)
    inputs = prepare(kind, audio, image, prompt, config)
    inputs.check_output(path)
    with Company() as company, woken_by_sigterm(company):
        layout = Layout.of(config.sample_steps, company.ranks, vae)
        notes = Notes(company.rank, company.began_s)
        if options.get("device", "auto") == "auto" and torch.cuda.is_available():
            options["device"] = f"cuda:{int(os.environ.get('LOCAL_RANK', company.rank)) % torch.cuda.device_count()}"
        with notes.span("prepare"):
            pipeline = load_once(backend, options)
            if company.rank == 0:
                remark_on(pipeline.backend, inputs, config)
            condition = pipeline.encode_inputs(inputs, config)       # every rank for itself: it is the same everywhere
            if layout.owned(company.rank):
                pipeline.load_weights()
        video = one_rank(pipeline, inputs, condition, config, company, layout, notes, path, stop or threading.Event(),
                         progress)
        share_notes(company, notes)
        if video is not None:
            timeline_of(company).save(video.path.with_suffix(".timeline.json"))
        return video


def share_notes(company: Company, notes: Notes) -> None:
    company.share("spans", json.dumps([asdict(span) for span in notes.spans]))


def timeline_of(company: Company) -> Timeline:
    """Of what all ranks have noted, once they have shared it."""
    spans = [Span(**span) for text in company.collect("spans") for span in json.loads(text)]
    return Timeline(tuple(sorted(spans, key=lambda span: span.began_s)), company.ranks)


def one_rank(pipeline: Pipeline, inputs: Inputs, condition: Condition, config: GenerationConfig, company: Company,
             layout: Layout, notes: Notes, path: Path, stop: threading.Event, progress: bool) -> Video | None:
    """What this rank does from the first block to the last."""
    backend, rank = pipeline.backend, company.rank
    if layout.owned(rank):
        made = denoise(backend, condition, config, company, layout, notes, stop)
    elif rank == layout.vae_rank:
        if not hasattr(backend, "load_transformer"):      # else its weights were never brought here
            torch.nn.Module.to(backend.transformer, "meta")   # they are not needed here: give their memory back
        made = arrivals(backend, condition, company, notes)
    else:
        return None
    if rank == layout.vae_rank:
        return film(pipeline, made, inputs, condition, config, notes, path, progress)
    for _ in made:
        pass
    return None


def film(pipeline: Pipeline, made: Iterator[tuple[int, Tensor]], inputs: Inputs, condition: Condition,
         config: GenerationConfig, notes: Notes, path: Path, progress: bool) -> Video:
    """Decode what comes and write it. Trouble elsewhere ends the file where it stands."""
    from tqdm.auto import tqdm

    from liveavatar.video import Video, VideoWriter

    backend = pipeline.backend
    about = pipeline.provenance(inputs, config)
    decoder, began, first_s = backend.decoder(condition), time.perf_counter(), 0.0
    trim = getattr(backend, "trim_frames", 0)             # pictures left out at the beginning
    frames, written = max(condition.frames - trim, 0), 0
    bar = tqdm(total=frames / backend.fps, disable=not progress, unit="s",
               bar_format="{percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} s of video [{elapsed}<{remaining}]")
    with bar, VideoWriter(path, inputs.size, backend.fps, inputs.speech, about, config.label) as writer:
        try:
            for block, latents in made:
                with notes.span("decode", block):
                    pictures = decoder.decode(latents)[0 if written else trim:][:frames - written]
                first_s = first_s or time.perf_counter() - began
                writer.write(pictures)
                written += len(pictures)
                bar.update(min(written / backend.fps, bar.total) - bar.n)
        finally:
            writer.close()
    spent_s = time.perf_counter() - began
    return Video(writer.path, written, inputs.size, backend.fps, written / backend.fps / max(spent_s, 1e-9), first_s,
                 {"all": spent_s}, written == frames, None, None)


@contextmanager
def woken_by_sigterm(company: Company) -> Iterator[None]:
    """torchrun ends all processes when one has died: then say so instead of vanishing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def told_to_end(*_: object) -> None:
        company._trouble = company._trouble or "another process of this run has ended, or it was told to end"

    before = signal.signal(signal.SIGTERM, told_to_end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave_at_once(code: int) -> NoReturn:
    """End this process although threads still wait for partners that are gone."""
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
