"""Prove `liveavatar inspect-video`: delays planted in real codecs, frame rates, jumps, drift, sizes, bit rates.

    python benchmarks/inspect_video.py [--quick] [--only codecs rates ...] [--portraits DIR]

Rendered avatars speak the sample recordings; their mouths are known. --portraits DIR adds photographs that are made to
speak by warping (`liveavatar.puppets`), whose mouths are known too: DIR as `read_portraits` there takes it.
Nothing of them is kept but the figures. Writes benchmarks/results/inspect_video.md.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.audio import loudness_envelope
from liveavatar.avatars import motion_index, render
from liveavatar.avatars.motion import talk
from liveavatar.avatars.sampling import random_identities
from liveavatar.faces.curves import face_height
from liveavatar.inspection import read_clip
from liveavatar.inspection.clip import Clip, shifted, sound_of
from liveavatar.inspection.decoding import decode, read_header
from liveavatar.inspection.lip_findings import find_sync
from liveavatar.inspection.sync import RATE_HZ, sync_of
from liveavatar.metrics.reader import as_uint8
from liveavatar.speech import join, samples, viseme_curves
from liveavatar.types import Speech

RESULTS = Path(__file__).parent / "results" / "inspect_video.md"
FPS = 25
FRAME_MS = 1000 / FPS
SHIFTS = range(-5, 6)
# name -> ending, codec, options, pixel format, codec of the sound, its rate
CODECS = {
    "H.264, AAC": (".mp4", "libx264", {"crf": "23"}, "yuv420p", "aac", 44100),
    "VP9, Opus": (".webm", "libvpx-vp9", {"crf": "33", "b": "0", "deadline": "realtime", "cpu-used": "8"}, "yuv420p",
                  "libopus", 48000),
    "MPEG-4, MP3": (".avi", "mpeg4", {"qscale": "5", "flags": "+qscale"}, "yuv420p", "libmp3lame", 22050),
    "H.265, AAC": (".mp4", "libx265", {"crf": "28", "x265-params": "log-level=none"}, "yuv420p", "aac", 48000),
    "AV1, FLAC": (".mkv", "libsvtav1", {"crf": "40", "preset": "12"}, "yuv420p", "flac", 16000),
    "VP8, Opus": (".webm", "libvpx", {"b": "300k", "deadline": "realtime", "cpu-used": "8"}, "yuv420p", "libopus",
                  24000),
    "MJPEG, PCM": (".mov", "mjpeg", {}, "yuvj420p", "pcm_s16le", 8000),
    "MPEG-2, MP2": (".ts", "mpeg2video", {"b": "800k"}, "yuv420p", "mp2", 48000),
    "ProRes, PCM": (".mov", "prores_ks", {}, "yuv422p10le", "pcm_s16le", 96000),
}
WHOLE = ("H.264, AAC", "VP9, Opus", "MPEG-4, MP3")         # with every shift; the others with three
RATES = {"50": "50", "23.976": "24000/1001", "29.97": "30000/1001", "60": "60", "15": "15"}
BIT_RATES = {"28 (high)": "28", "36 (low)": "36", "44 (lowest)": "44"}
HEIGHTS_PX = (40, 60, 100, 200, 500)


# ---------------------------------------------------------------------------------------------- films
def recordings() -> Speech:
    """The sample recordings one after the other, with their phonemes."""
    return join(list(samples().values()), [0.3] * (len(samples()) + 1))


def film(seed: int, side: int, seconds: float, speech: Speech | None = None) -> tuple[Tensor, Tensor, Speech]:
    """A rendered avatar who says the recordings: pictures (T, H, W, 3) uint8, opening (T,), speech."""
    speech, generator = speech or recordings(), torch.Generator().manual_seed(seed)
    count = round(min(seconds, speech.duration_s) * FPS)
    visemes = viseme_curves(speech.phonemes, speech.duration_s)[None, :count]
    loudness = loudness_envelope(speech.wave)[None, :count]
    identity = random_identities(1, generator)
    motion = talk(visemes, loudness, torch.tensor([[0, 0, 0, 1]]), generator)[0]
    pictures = torch.cat([as_uint8(render(identity.expand(len(part), -1), part, (side, side)))
                          for part in motion.split(24)])
    return pictures, motion[:, motion_index("mouth_aperture")], cut(speech, count / FPS)


def cut(speech: Speech, seconds: float) -> Speech:
    """The beginning of a recording."""
    phonemes = tuple(one for one in speech.phonemes if one.end_s <= seconds)
    return replace(speech, wave=speech.wave[:round(seconds * speech.rate_hz)], phonemes=phonemes)


def late_lips(speech: Speech, frames: float) -> Speech:
    """The sound so much earlier that the lips are that many frames late."""
    return shifted(speech, -frames / FPS)


def encode(path: Path, frames: np.ndarray, speech: Speech | None, times: list[Fraction], codec: str = "libx264",
           options: dict[str, str] | None = None, pixels: str = "yuv420p", sound_codec: str = "aac",
           sound_hz: int = 48000, fps: Fraction = Fraction(FPS), graph: str = "",
           sound_at_s: float = 0.0) -> Path:
    """Write pictures (T, H, W, 3) uint8 at any times, s, and a sound into any file that PyAV writes.

    graph: a filter of FFmpeg that the pictures go through, such as fps=fps=60; sound_at_s: when the sound begins
    """
    import av

    height, width = frames.shape[1:3]
    base = Fraction(1, 90000) if codec in ("libx264", "libvpx-vp9", "libvpx", "libx265") else 1 / fps
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pixels
        video.codec_context.time_base = base
        audio = None if speech is None else container.add_stream(sound_codec, rate=sound_hz, layout="mono")
        pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(one), format="rgb24") for one in frames]
        for picture, time in zip(pictures, times, strict=True):
            picture.pts, picture.time_base = round(time / base), base
        for picture in filtered(pictures, graph, width, height, base) if graph else pictures:
            container.mux(video.encode(picture.reformat(format=pixels)))
        container.mux(video.encode(None))
        if audio is not None:
            write_sound(container, audio, speech, sound_at_s)
    return path


def filtered(pictures: list, graph: str, width: int, height: int, base: Fraction) -> Iterator:
    """Send pictures through a filter of FFmpeg."""
    import av

    made = av.filter.Graph()
    source = made.add_buffer(width=width, height=height, format="rgb24", time_base=base)
    name, _, options = graph.partition("=")
    step, sink = made.add(name, options), made.add("buffersink")
    source.link_to(step)
    step.link_to(sink)
    made.configure()
    for picture in [*pictures, None]:
        made.push(picture)
        while True:
            try:
                yield made.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break


def write_sound(container: object, stream: object, speech: Speech, at_s: float) -> None:
    """Encode a mono sound."""
    import av

    wave = np.clip(speech.wave, -1, 1).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="flt", layout="mono")
    frame.sample_rate, frame.time_base = speech.rate_hz, Fraction(1, speech.rate_hz)
    frame.pts = round(at_s * speech.rate_hz)
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=stream.rate,
                                  frame_size=stream.codec_context.frame_size or 1024)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def regular(count: int, fps: Fraction = Fraction(FPS)) -> list[Fraction]:
    return [number / fps for number in range(count)]


def delays_ms(path: Path, opening: Tensor) -> tuple[float, float]:
    """The delay that is read off a file, and that of the true opening (T,) of its pictures at their time stamps."""
    clip = read_clip(path)
    curve = clip.at_rate(opening, RATE_HZ)
    return find_sync(clip).offset_ms, sync_of(curve, torch.ones(len(curve), dtype=torch.bool), clip.speech).offset_ms


def shown_at(fps: Fraction, count: int) -> Tensor:
    """Which of `count` pictures at FPS the filter `fps` shows in each picture of another rate."""
    begins = (torch.arange(count, dtype=torch.float64) * float(fps) / FPS + 0.5).floor()
    return torch.searchsorted(begins, torch.arange(int(begins[-1]) + 1, dtype=torch.float64), right=True) - 1


def same_pictures(path: Path, clip: Clip) -> Clip:
    """Time stamps and sound of a file whose pictures were read from another one already."""
    times = np.concatenate([chunk.times_s for chunk in decode(path)])
    speech, soundless, notes = sound_of(path, read_header(path), float(times[0]), None)
    assert len(times) == len(clip)
    return replace(clip, path=path, times_s=torch.from_numpy(times - times[0]), speech=speech, soundless=soundless,
                   notes=notes)


# ---------------------------------------------------------------------------------------------- parts
def codecs(folder: Path, quick: bool) -> str:
    """Planted delays of -5 to 5 frames."""
    frames, _, speech = film(3, 128, 6 if quick else 12)
    frames, rows = frames.numpy(), []
    for name, (ending, codec, options, pixels, sound, rate_hz) in CODECS.items():
        shifts = SHIFTS if name in WHOLE and not quick else (-5, 0, 5)
        read, clip = {}, None
        for shift in shifts:
            path = encode(folder / f"shift{ending}", frames, late_lips(speech, shift), regular(len(frames)), codec,
                          options, pixels, sound, rate_hz)
            clip = read_clip(path) if clip is None else same_pictures(path, clip)
            read[shift] = find_sync(clip).offset_ms / FRAME_MS
        errors = [abs(value - read[0] - shift) for shift, value in read.items() if shift]
        rows.append([name, len(read), f"{path.stat().st_size / len(frames) * FPS / 125:.0f}",
                     f"{read[0] * FRAME_MS:+.1f}", f"{np.mean(errors):.3f}", f"{max(errors):.3f}"])
    return (f"A rendered avatar of 128 px, {len(frames) / FPS:.0f} s; the sound moved by whole frames of 40 ms. Faces "
            "are read once for each codec, for the pictures are the same; time stamps and sound are read from every "
            "file. "
            "What is read without a shift, then how far the others are from that and the shift:\n\n" +
            table(["codecs", "shifts", "kbit/s in all", "unshifted, ms", "mean error, frames", "largest"], rows))


def rates(folder: Path, quick: bool) -> str:
    """Converted frame rates."""
    rows = []
    for seed in (3,) if quick else (3, 8):
        frames, opening, speech = film(seed, 128, 6 if quick else 12)
        frames, times = frames.numpy(), regular(len(frames))
        plain, true = delays_ms(encode(folder / "plain.mp4", frames, speech, times), opening)
        kept = torch.tensor(sorted(random.Random(seed).sample(range(len(frames)), round(0.7 * len(frames)))))
        files = [(f"25 to {name}", torch.arange(len(frames)), shown_at(Fraction(fps), len(frames)),
                  {"fps": Fraction(fps), "graph": f"fps=fps={fps}"}) for name, fps in RATES.items()]
        files.append(("variable: 30 % of the pictures left out", kept, kept, {}))
        for name, given, shown, options in files:
            when = [times[at] for at in given]
            path = encode(folder / "rate.mp4", frames[given.numpy()], speech, when, **options)
            count = sum(len(chunk.times_s) for chunk in decode(path))
            read, known = delays_ms(path, opening[F.pad(shown, (0, 2), value=int(shown[-1]))[:count]])
            rows.append([name, seed, f"{plain:+.1f}", f"{read - plain:+.1f}", f"{known - true:+.1f}"])
    return ("Converted by FFmpeg's filter `fps`, which repeats and leaves out pictures, then compressed anew. Last "
            "column: how far the delay moves where the true mouth of each picture is given and nothing is read:\n\n" +
            table(["conversion", "person", "before, ms", "moves by, ms", "by time stamps alone, ms"], rows))


def jumps(folder: Path, quick: bool) -> str:
    """Planted jumps and drifts, and how often one is seen that is not there."""
    rows, intact = [], []
    for seed in (3,):
        frames, _, speech = film(seed, 128, 18, join([samples()["steps"]] * 3, [0.3] * 4))      # one voice, no other
        frames, times = frames.numpy(), regular(len(frames))
        sync = find_sync(read_clip(encode(folder / "intact.mp4", frames, speech, times)))
        intact.append(f"{len(sync.jumps)} jumps, drift {sync.drift_ms_per_minute:+.0f} ± {sync.drift_uncertainty:.0f} "
                      f"({'believed' if sync.drifts else 'not believed'})")
        for by_frames, at in ((3, 0.5), (-3, 0.35), (5, 0.6)):
            place = round(at * len(frames))
            order = np.clip(np.arange(len(frames)) - by_frames * (np.arange(len(frames)) >= place), 0, len(frames) - 1)
            sync = find_sync(read_clip(encode(folder / "jump.mp4", frames[order], speech, times)))
            said = ", ".join(f"{one.time_s:.1f} s by {one.by_ms:+.0f} ms" for one in sync.jumps) or "none"
            rows.append([seed, f"{place / FPS:.1f} s by {by_frames * FRAME_MS:+.0f} ms", said])
        faster = [time * Fraction(1000, 1005) for time in times]
        sync = find_sync(read_clip(encode(folder / "drift.mp4", frames, speech, faster)))
        said = f"{sync.drift_ms_per_minute:+.0f} ± {sync.drift_uncertainty:.0f} ms a minute"
        rows.append([seed, "pictures 0.5 % too fast: -300 ms a minute", said])
    return ("Planted in 18 s of H.264, then what is found:\n\n" + table(["person", "planted", "found"], rows) +
            "\nIntact: " + "; ".join(intact) + ".\n")


def puppets(folder: Path, kinds: dict[str, Callable], count: int = 200) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Photographs that say the recordings: name, pictures (T, 320, 320, 3) uint8, opening (T,)."""
    from liveavatar.puppets import read_portraits, render_puppets, rigs_of
    from liveavatar.puppets.deform import View
    from liveavatar.puppets.mouth_interior import Mouths

    portraits, speech = read_portraits(folder, "val"), recordings()
    with open(folder / "index.csv", newline="", encoding="utf-8") as file:
        about = {row["file"]: row for row in csv.DictReader(file)}
    visemes, loudness = viseme_curves(speech.phonemes, speech.duration_s), loudness_envelope(speech.wave)
    for kind, worth in kinds.items():
        index = max(range(len(portraits)), key=lambda one: worth(about[portraits.names[one]]))
        generator, rigs = torch.Generator().manual_seed(index), rigs_of(portraits[torch.tensor([index])])
        motion = talk(visemes[None, :count], loudness[None, :count], torch.tensor([[0, 0, 0, 1]]), generator)
        mouths, view = Mouths.draw(1, generator, "cpu"), View(torch.zeros(1, 2), torch.ones(1))
        with torch.no_grad():
            parts = [as_uint8(render_puppets(rigs, part, view, mouths, (320, 320)).pictures[0])
                     for part in motion.split(10, 1)]
        yield kind, torch.cat(parts), motion[0, :, motion_index("mouth_aperture")]


PUPPETS = {"photo, frontal": lambda row: (row["style"] == "photo") - abs(float(row["yaw"])),
           "photo, turned": lambda row: abs(float(row["yaw"])),
           "painting": lambda row: (row["style"] == "painting") - abs(float(row["yaw"]))}


def calibration(folder: Path, quick: bool, portraits: Path | None) -> str:
    """Size of the face and bit rate against correlation of the opening and error of the delay."""
    sets = {f"avatar {seed}": film(seed, 256, 8)[:2] for seed in (3,)}
    if portraits:
        sets |= {name: (frames, opening) for name, frames, opening in puppets(portraits, PUPPETS)}
    speech, rows = recordings(), []
    for name, (frames, opening) in sets.items():
        track = read_clip(encode(folder / "size.mp4", frames[:8].numpy(), None, regular(8))).track
        height, yaw = float(face_height(track.points).nanmedian()), float(track.head_pose_deg[:, 0].nanmedian())
        for wanted in (60, 200) if quick else HEIGHTS_PX:
            small = resized(frames, wanted / height)
            for label, crf in (list(BIT_RATES.items())[1:2] if wanted not in (60, 200) else BIT_RATES.items()):
                path = encode(folder / "size.mp4", small, cut(speech, len(small) / FPS), regular(len(small)),
                              options={"crf": crf})
                clip = read_clip(path)
                sync = find_sync(clip)
                found = float(clip.track.found.float().mean())
                rows.append([f"{name}, turned by {abs(yaw):.0f} deg", wanted, label, f"{found:.0%}",
                             f"{correlation(clip.opening, opening[:len(clip)]):.3f}", shown(sync.offset_ms),
                             shown(sync.uncertainty_ms), f"{sync.curve.peak:.2f}"])
    return ("Films of known mouths, enlarged or made smaller so that the face, upper forehead to chin, is that high; "
            "H.264 at three qualities (CRF; more is worse):\n\n" +
            table(["film", "face, px", "CRF", "found", "opening: correlation", "delay, ms", "claimed ±", "peak"], rows))


def resized(frames: Tensor, factor: float) -> np.ndarray:
    """Pictures (T, H, W, 3) uint8 of another size, with even sides."""
    size = [2 * max(8, round(side * factor / 2)) for side in frames.shape[1:3]]
    parts = [F.interpolate(part.permute(0, 3, 1, 2).float(), size, mode="bicubic", antialias=True)
             for part in frames.split(16)]
    return torch.cat([part.round().clamp(0, 255).byte().permute(0, 2, 3, 1) for part in parts]).numpy()


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.double(), other.double()]))[0, 1])


def shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.1f}"


def table(heads: list[str], rows: list[list]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"codecs": codecs, "rates": rates, "jumps": jumps, "calibration": calibration}
    parser.add_argument("--quick", action="store_true", help="shorter films, fewer of them")
    parser.add_argument("--only", nargs="*", choices=list(parts), default=list(parts))
    parser.add_argument("--portraits", type=Path, help="folder of portraits with landmarks, for photographs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only:
            extra = (asked.portraits,) if name == "calibration" else ()
            made = parts[name](Path(folder), asked.quick, *extra)
            print(made, flush=True)
            keep(asked.output, name.capitalize(), made, [part.capitalize() for part in parts])


def keep(path: Path, title: str, text: str, order: list[str]) -> None:
    """Put one section into the file of results; the others stay."""
    before = path.read_text(encoding="utf-8").split("\n## ")[1:] if path.is_file() else []
    sections = dict(one.split("\n\n", 1) for one in before) | {title: text}
    head = "# Any video inspected: what is found of what was planted\n\nMade by `python benchmarks/inspect_video.py`.\n"
    kept = [f"## {name}\n\n{sections[name].strip()}\n" for name in order if name in sections]
    path.write_text("\n".join([head, *kept]), encoding="utf-8")


if __name__ == "__main__":
    main()
