"""Look at this installation and this machine, and say what is wrong and what to do.

    liveavatar doctor            a line for each thing, and at the end what to do
    liveavatar doctor --json     the same for programs

Exit code 1 when something is wrong: a video cannot be made. What only makes it slower, or concerns extras, is a note.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.version import __version__

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline
    from liveavatar.types import Portrait, Speech

OK, NOTE, WRONG = "ok", "note", "wrong"
OLDEST, NEWEST = (3, 11), (3, 13)              # Python that the suite is run with
INSTALL = "pip install -c constraints.txt -e ."
LEAST_DISK = 500 * 2**20                       # bytes: some minutes of video, and a run folder
BLOCKS = 4                                     # made to measure the speed; the first is not counted
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Finding:
    """Hold what was found about one thing."""

    topic: str
    state: str                                 # "ok", "note" or "wrong"
    found: str                                 # in a sentence
    remedy: str = ""                           # what to do; empty where nothing needs to be done
    values: dict[str, object] = field(default_factory=dict)      # the same as numbers, for programs

    def __str__(self) -> str:
        return f"{self.state:6}{self.topic:10}{self.found}" + (f"\n{'':16}-> {self.remedy}" if self.remedy else "")


def main(as_json: bool = False) -> int:
    """Print all findings; return the exit code: 1 when something is wrong."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            print(finding, flush=True)
    wrong = [finding for finding in findings if finding.state == WRONG]
    if as_json:
        print(json.dumps({"version": __version__, "ok": not wrong, "findings": [asdict(one) for one in findings]},
                         indent=1))
    else:
        print(f"\n{len(wrong)} wrong: {', '.join(one.topic for one in wrong)}; see the lines with ->" if wrong else
              "\nNothing is wrong.")
    return 1 if wrong else 0


def examine(checks: Sequence[Callable[[], Finding]] | None = None) -> Iterator[Finding]:
    """Run the checks one after another. One that fails is a finding too."""
    for check in CHECKS if checks is None else checks:
        try:
            yield check()
        except Exception as error:             # whatever a broken installation raises
            yield Finding(check.__name__.removeprefix("check_"), WRONG,
                          f"{type(error).__name__}: {str(error).strip()[:200]}", f"install again: {INSTALL}")


# ------------------------------------------------------------------------------------------- the checks

def check_python() -> Finding:
    """Check the version of Python."""
    version, found = sys.version_info[:2], f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    values = {"version": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    if version < OLDEST:
        return Finding("python", WRONG, found, "Python 3.11 or newer is needed", values)
    if version > NEWEST:
        return Finding("python", NOTE, f"{found}; nobody has tried this version yet",
                       "where something fails, take Python 3.13", values)
    return Finding("python", OK, found, values=values)


def check_libraries() -> Finding:
    """Check whether the required libraries are there, in versions that fit."""
    from packaging.requirements import Requirement

    versions, unmet = {}, []
    for requirement in map(Requirement, metadata.requires("liveavatar") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            versions[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            unmet.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(versions[requirement.name], prereleases=True):
            unmet.append(f"{requirement.name} is {versions[requirement.name]}, needed is {requirement.specifier}")
    if unmet:
        return Finding("libraries", WRONG, "; ".join(unmet), INSTALL, versions)
    shown = ("torch", "diffusers", "av", "jupyterlab", "anywidget")
    return Finding("libraries", OK, ", ".join(f"{name} {versions[name]}" for name in shown if name in versions),
                   values=versions)


def check_torch() -> Finding:
    """Check what torch calculates with."""
    import torch

    cuda = torch.version.cuda
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return Finding("torch", OK, f"{torch.__version__}, on {name}", values={"build": torch.__version__, "gpu": name})
    found = f"{torch.__version__}, on the CPU" + (f"; built for CUDA {cuda}, without a GPU here" if cuda else "")
    values = {"build": torch.__version__, "gpu": None}
    cards = nvidia_cards()
    if cards:
        why = "this build of torch has no CUDA" if not cuda else "torch does not see it: its driver may be too old"
        return Finding("torch", NOTE, f"{found}; there is an {cards[0]}, but {why}",
                       "mini needs no GPU; for wan-s2v-14b install torch for CUDA, and a driver for it", values)
    return Finding("torch", OK, found, values=values)


def nvidia_cards() -> list[str]:
    """Name the GPUs that NVIDIA's driver knows of, whether torch can use them or not."""
    try:
        import pynvml

        pynvml.nvmlInit()
        names = [pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(number))
                 for number in range(pynvml.nvmlDeviceGetCount())]
        return [name.decode() if isinstance(name, bytes) else name for name in names]
    except Exception:                          # no driver
        return []


def check_threads() -> Finding:
    """Check how many threads the machine has room for now."""
    from liveavatar.threads import SPIN_SETTINGS, CpuReading, available_cores, requested_threads, threads_now

    cores, before = available_cores(), CpuReading.now()
    time.sleep(0.5)
    free, count = CpuReading.now().cores_since(before), threads_now()
    values = {"cores": cores, "idle_cores": round(min(free, cores), 2), "threads": count,
              "environment": {name: os.environ[name] for name in
                              ("LIVEAVATAR_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", *SPIN_SETTINGS)
                              if name in os.environ}}
    found = f"{plural(cores, 'core')}, {min(free, cores):.1f} idle: {plural(count, 'thread')} now"
    asked = requested_threads()
    if asked is not None:
        return Finding("threads", NOTE, f"{found}, because LIVEAVATAR_THREADS says so",
                       "unset it, and the number follows the machine", values)
    if count < cores and "OMP_NUM_THREADS" in os.environ:
        return Finding("threads", NOTE, f"{found}; OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} is the limit",
                       "unset it if that is not meant", values)
    if count < cores and free < cores - 0.5:
        return Finding("threads", NOTE, f"{found}; other programs use the rest",
                       "it goes faster when they are done; the number of threads follows by itself", values)
    return Finding("threads", OK, found, values=values)


def check_speed() -> Finding:
    """Measure how long mini takes for a block, and whether the video depends on the number of threads."""
    import liveavatar

    pipeline = liveavatar.load("mini")
    block_s = pipeline.block_frames / pipeline.backend.fps
    speech, portrait = next(iter(liveavatar.samples().values())), liveavatar.sample_portraits()["woman"]
    config = liveavatar.GenerationConfig(duration_s=BLOCKS * block_s)
    spent_s, began_s = [], time.perf_counter()
    for event in pipeline.events(speech, portrait, config=config):
        if isinstance(event, liveavatar.Block):
            spent_s.append(time.perf_counter() - began_s)
            began_s = time.perf_counter()
    took_s, dtype = statistics.median(spent_s[1:]), pipeline.backend.about()["dtype"]
    same = same_with_any_count(pipeline, speech, portrait)
    values = {"block_ms": round(1000 * took_s), "x_realtime": round(block_s / took_s, 3), "dtype": dtype,
              "same_with_any_number_of_threads": same}
    found = (f"a block of {1000 * block_s:.0f} ms takes {1000 * took_s:.0f} ms in {dtype}: "
             f"{block_s / took_s:.2f}x real time")
    if same is False:
        return Finding("speed", NOTE, f"{found}; the video's last bits depend on the number of threads here",
                       "where they must not, keep it: LIVEAVATAR_THREADS=2", values)
    if took_s > block_s:
        return Finding("speed", NOTE, f"{found}: slower than it is watched",
                       "videos are made all the same; see threads above, or take fewer steps: --sample_steps 2",
                       values)
    return Finding("speed", OK, found, values=values)


def same_with_any_count(pipeline: Pipeline, speech: Speech, portrait: Portrait) -> bool | None:
    """Make half a block with one thread and with the most that would be chosen. None: there is no choice."""
    import torch

    import liveavatar
    from liveavatar.threads import SETTING, available_cores, thread_counts

    counts = thread_counts(min(torch.get_num_threads(), available_cores()))
    if len(counts) == 1 or pipeline.backend.device.type != "cpu" or os.environ.get(SETTING):
        return None
    config, made = liveavatar.GenerationConfig(duration_s=0.1, sample_steps=1), []
    try:
        for count in (counts[0], counts[-1]):
            os.environ[SETTING] = str(count)
            made.append([event.x if isinstance(event, liveavatar.Step) else event.frames
                         for event in pipeline.events(speech, portrait, config=config)])
    finally:
        del os.environ[SETTING]
    return all(torch.equal(one, other) for one, other in zip(*made, strict=True))


def check_memory() -> Finding:
    """Check whether a video of mini fits into what is free."""
    import psutil

    from liveavatar.vram.plan import plan

    needed = plan("mini").peak.bytes
    now, free = psutil.Process().memory_info().rss, psutil.virtual_memory().available
    more = max(needed - now, 0)
    values = {"needed": needed, "free": free, "total": psutil.virtual_memory().total}
    found = f"{free / GIB:.1f} GiB free of {values['total'] / GIB:.1f}; a run of mini holds {needed / MIB:.0f} MiB"
    if free < more:
        return Finding("memory", WRONG, found, "close other programs: the system may end this one", values)
    return Finding("memory", OK, found, values=values)


def check_disk() -> Finding:
    """Check whether videos can be written here, and temporary files."""
    values, wrong = {}, []
    for name, folder in (("this folder", Path.cwd()), ("the folder for temporary files", Path(tempfile.gettempdir()))):
        values[name] = free = shutil.disk_usage(folder).free
        if not os.access(folder, os.W_OK):
            wrong.append(f"{name} ({folder}) cannot be written to")
        elif free < LEAST_DISK:
            wrong.append(f"{name} ({folder}) has {free / MIB:.0f} MiB left")
    found = ", ".join(f"{free / GIB:.1f} GiB free in {name}" for name, free in values.items())
    if wrong:
        return Finding("disk", WRONG, "; ".join(wrong), "go to another folder, or make room; TMPDIR names the second",
                       values)
    return Finding("disk", OK, found, values=values)


def check_video() -> Finding:
    """Check whether PyAV brings what videos are written with."""
    import av

    from liveavatar.video import FORMATS

    missing = [f"{suffix} needs {codec}" for suffix, form in FORMATS.items()
               for codec in (form.video_codec, form.audio_codec) if codec not in av.codecs_available]
    values = {"av": av.__version__, "formats": [suffix for suffix, form in FORMATS.items()
                                                if {form.video_codec, form.audio_codec} <= av.codecs_available]}
    if missing:
        return Finding("video", WRONG if len(values["formats"]) == 0 else NOTE, "; ".join(missing),
                       "install PyAV's own wheel: pip install --force-reinstall --no-deps av", values)
    return Finding("video", OK, f"PyAV {av.__version__} writes {' and '.join(values['formats'])}", values=values)


def check_voices() -> Finding:
    """Check the synthetic voices for --text."""
    from liveavatar.speech import available_voices

    found = available_voices()
    kinds = {kind: sum(voice.startswith(f"{kind}:") for voice in found) for kind in ("espeak", "flite")}
    missing = [name for name, kind in (("espeak-ng", "espeak"), ("flite", "flite")) if not kinds[kind]]
    if missing:
        return Finding("voices", NOTE, f"{' and '.join(missing)} missing: " + (
            "--text has fewer voices" if found else "--text cannot be used, recordings can"),
            ("" if kinds["espeak"] else "pip install 'liveavatar[speech]', or ") +
            f"apt-get install {' '.join(missing)}   (macOS: brew install {' '.join(missing)})", kinds)
    return Finding("voices", OK, f"{kinds['espeak']} of espeak-ng, {kinds['flite']} of flite", values=kinds)


def check_browser() -> Finding:
    """Look for a browser for the page."""
    import webbrowser

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        own = webbrowser.get().name
    except webbrowser.Error:
        own = None
    values = {"chromium": chromium, "default": own}
    if own is None and chromium is None:
        return Finding("browser", NOTE, "none here, as on a server",
                       "liveavatar lab -- --no-browser --ip=0.0.0.0, and open the address it prints elsewhere", values)
    return Finding("browser", OK, chromium or own, values=values)


def check_compiler() -> Finding:
    """Look for a compiler for --compile."""
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++", "cl"))), None)
    if found is None:
        return Finding("compiler", NOTE, "no C++ compiler: --compile cannot be used, nothing else needs it",
                       "apt-get install g++   (macOS: xcode-select --install)", {"path": None})
    return Finding("compiler", OK, f"{found}, for --compile", values={"path": found})


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python, check_libraries, check_torch, check_threads, check_memory, check_speed, check_disk, check_video,
    check_voices, check_browser, check_compiler)
