"""Bad input: damaged files, odd settings, odd names. One sentence and exit code 2, or a correct result.

The row of settings needs `pip install hypothesis`.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.attempts import Attempt, Worker, chance, run_command
from faults.mutations import damaged

SOUNDS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "", "m4a": "aac", "mp4": "aac"}
PICTURES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF"}
FOLDERS = ("trace", "memory", "adapter", "manifest", "sweep", "timeline", "recorded run")


# --------------------------------------------------------------------------------------------------- whole files

def write_sound(path: Path) -> None:
    """Write 0.6 s of sound in the format of the ending; .mp4 has pictures, too."""
    import av
    import fakes
    import numpy as np
    import soundfile

    wave = fakes.tone(0.6).wave
    if path.suffix == ".ogg":                                   # PyAV's FFmpeg writes no Vorbis
        return soundfile.write(path, wave, 16_000, format="OGG", subtype="VORBIS")
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": "a recording", "artist": "nobody"})
        rate = 16_000
        stream = container.add_stream(SOUNDS[path.suffix[1:]], rate=rate, layout="mono")
        if path.suffix == ".mp4":
            pictures = container.add_stream("libx264", rate=25)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
            for brightness in range(15):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 16 * brightness, np.uint8), format="rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray((wave[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return None


def write_picture(path: Path) -> None:
    """Write a portrait of 64 x 64 px; the PNG says who it shows, the GIF moves, the JPEG has an EXIF note."""
    from PIL import Image

    from liveavatar.avatars.portraits import avatar, save_portrait

    portrait = avatar(3, (64, 64))
    if path.suffix == ".png":
        return save_portrait(portrait, path)
    image = Image.fromarray((portrait.pixels.permute(1, 2, 0).numpy() * 255).astype("uint8"))
    if path.suffix == ".gif":
        image.save(path, save_all=True, append_images=[image.rotate(90)])
    elif path.suffix == ".jpg":
        note = Image.Exif()
        note[0x0112] = 6
        image.save(path, exif=note)
    else:
        image.save(path)
    return None


def write_folder(kind: str, folder: Path) -> list[Path]:
    """Write a folder of this kind, as the project writes it -> its files."""
    import torch

    folder.mkdir()
    if kind in ("trace", "recorded run"):
        import fakes

        from liveavatar.config import GenerationConfig
        from liveavatar.pipeline import Pipeline
        from liveavatar.runs.run import Run

        run = Run.of(Pipeline(fakes.FakeBackend()), fakes.tone(0.9), fakes.face(32, 32), "",
                     GenerationConfig(size=(32, 32), sample_steps=2))
        run.start().wait(20)
        run.trace.save(folder) if kind == "trace" else run.save(folder)
    elif kind == "memory":
        from liveavatar import MemoryWatch

        with MemoryWatch() as watch:
            torch.zeros(1000)
        watch.record.save(folder)
    elif kind == "adapter":
        from safetensors.torch import save_file

        save_file({"blocks.0.q.lora_A": torch.ones(2, 8), "blocks.0.q.lora_B": torch.ones(8, 2)},
                  folder / "adapter.safetensors", {"format": "pt"})
    elif kind == "manifest":
        from liveavatar.weights import save_part

        save_part(folder, "base", {"a": torch.arange(8.0)})
    elif kind == "sweep":
        from liveavatar.study.grid import Grid
        from liveavatar.study.sweep import Sweep

        Sweep(Grid(backend="fake", size="32*32", seconds=0.6, steps=(1, 2)), folder)._begin()
    else:
        from liveavatar.parallel import Span, Timeline

        Timeline((Span(0, "step", 0, 0, 0.0, 1.0), Span(1, "decode", 0, -1, 1.0, 2.0)), 2).save(folder / "t.json")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def open_folder(kind: str, folder: Path) -> None:
    """Open such a folder and look at everything in it. Raises InputError for what cannot be used."""
    if kind == "trace":
        from liveavatar.trace import Trace

        list(Trace.load(folder).replay())
    elif kind == "recorded run":
        from liveavatar.runs.loading import replay

        run = replay(folder)
        list(run.trace.replay())
    elif kind == "memory":
        from liveavatar.vram.watch import MemoryRecord

        record = MemoryRecord.load(folder)
        [record.when(time_s) for time_s in (0.0, 1.0)]
    elif kind == "adapter":
        from liveavatar.backends.wan.checkpoints import read_lora

        read_lora(folder / "adapter.safetensors")
    elif kind == "manifest":
        from liveavatar.weights import load_part, read_manifest

        load_part(read_manifest(folder), "base")
    elif kind == "sweep":
        from liveavatar.study.sweep import Sweep

        repr(Sweep.open(folder))
    else:
        from liveavatar.parallel import Timeline, gantt

        gantt(Timeline.load(folder / "t.json"))


# ---------------------------------------------------------------------------------------------- attempts in the child

def judged(code: int, said: str, errors: str, output: Path) -> str:
    """Return what is wrong with an answer of the command line; "" when it is as promised."""
    from liveavatar.video import read_frames

    notes = [line for line in errors.splitlines() if line.strip() and not line.startswith("note: ")]
    notes = [line for line in notes if "s of video [" not in line]                   # the progress bar
    if any(ord(letter) < 32 and letter not in "\n\r" or ord(letter) == 127 for letter in said + errors):
        return f"control characters are printed: {errors!r}"
    if code == 2:
        if output.exists() or len(notes) != 1 or not notes[0].startswith("liveavatar: "):
            return f"exit code 2 with {notes}, output {'there' if output.exists() else 'not there'}"
        return ""
    if code != 0:
        return f"exit code {code}: {errors[-300:]}"
    if notes:
        return f"printed beside notes: {notes[:3]}"
    return "" if sum(1 for _ in read_frames(output)) else "no pictures in the video"


def generate_with(arguments: list[str], folder: Path) -> str:
    """Run `generate` with the toy backend -> what is wrong, "" for nothing."""
    from fakes import FakeBackend

    output = folder / "out.mp4"
    FakeBackend.loaded = 0
    code, said, errors = run_command(["generate", "--backend", "fake", "--sample_steps", "1", "--output", str(output),
                                      *arguments])
    if code == 2 and FakeBackend.loaded:
        return f"refused only after weights were loaded: {errors[-200:]}"
    return judged(code, said, errors, output)


def good_files(folder: Path) -> tuple[Path, Path]:
    """A recording and a portrait that can be used."""
    sound, picture = folder / "good.wav", folder / "good.png"
    write_sound(sound)
    write_picture(picture)
    return sound, picture


def try_media(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Damage one sound or picture and make a video with it -> (case, what is wrong)."""
    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, picture = good_files(folder)
        given = folder / f"given.{kind}"
        (write_sound if kind in SOUNDS else write_picture)(given)
        how, data = damaged(given.read_bytes(), dice)
        given.write_bytes(data)
        pair = [str(given), str(picture)] if kind in SOUNDS else [str(sound), str(given)]
        return f"{kind}, {how}", generate_with(["--audio", pair[0], "--image", pair[1]], folder)


def try_folder(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Damage one file of something that was saved, and open it -> (case, what is wrong)."""
    from liveavatar.types import InputError

    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved"
        victim = dice.choice(write_folder(kind, folder))
        how, data = damaged(victim.read_bytes(), dice)
        victim.write_bytes(data)
        case = f"{kind}, {victim.name}, {how}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                open_folder(kind, folder)
        except InputError as refused:
            return case, "" if "\n" not in str(refused) else f"more than one line: {refused}"
        return case, ""


def try_inspection(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Damage a video and have it inspected -> (case, what is wrong)."""
    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        video, page = Path(name) / "clip.mp4", Path(name) / "report.html"
        write_sound(video)
        how, data = damaged(video.read_bytes(), dice)
        video.write_bytes(data)
        code, _, errors = run_command(["inspect-video", str(video), "--report", str(page)])
        lines = [line for line in errors.splitlines() if not line.startswith("note: ") and str(page) not in line]
        if code == 2 and len(lines) == 1 and not page.exists() or code == 0 and not lines and page.exists():
            return f"{kind}, {how}", ""
        return f"{kind}, {how}", f"exit code {code}: {errors[-400:]}"


def try_json(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Replace one value of a saved JSON file by one of another type, and open it -> (case, what is wrong)."""
    from liveavatar.types import InputError

    dice = chance(row, seed, number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved"
        victim = dice.choice([path for path in write_folder(kind, folder) if path.suffix == ".json"])
        values = json.loads(victim.read_text())
        case = f"{kind}, {victim.name}, {spoiled(values, dice)}"
        victim.write_text(json.dumps(values))
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            open_folder(kind, folder)
        return case, ""


def spoiled(values: object, dice: random.Random) -> str:
    """Change one value somewhere inside, in place -> what was changed."""
    where = []
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = dice.choice(keys)
        where.append(str(key))
        if isinstance(values[key], (dict, list)) and values[key] and dice.random() < 0.8:
            values = values[key]
            continue
        if dice.random() < 0.3:
            del values[key]
            return f"without {'.'.join(where)}"
        values[key] = dice.choice([None, -1, 1e30, "", "../../etc/passwd", [], {}, True, [[]], "<script>", 2**70])
        return f"{'.'.join(where)} = {values[key]!r}"


# ------------------------------------------------------------------------------------------------------- settings

def settings_of(dice: random.Random) -> dict:
    """Draw a configuration: some values good, some of the wrong kind or size."""
    from hypothesis import strategies as st
    from hypothesis.errors import NonInteractiveExampleWarning

    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]),
                    st.tuples(st.integers(0, 99)), st.sampled_from(["nan", "1e999", "٣", "0x10", "1_0", "\x00", "🙂"]))
    names = {"sample_steps": st.integers(1, 3), "size": st.sampled_from(["32*32", "48*32", (32, 48)]),
             "infer_frames": st.sampled_from([12, 24, 48]), "num_clip": st.integers(1, 2),
             "base_seed": st.integers(0, 2**63), "sample_solver": st.sampled_from(["euler", "renoise", None]),
             "schedule": st.sampled_from(["trained", "linear", (1.0, 0.5, 0.0)]), "shift": st.floats(0, 200),
             "crop": st.sampled_from(["auto", "none", "0,0,32,32", (0, 0, 40, 40), "5,5,4,4"]),
             "portrait_strength": st.floats(-0.5, 1.5), "sound_strength": st.floats(-0.5, 1.5),
             "guidance": st.floats(0, 2), "enable_online_decode": st.booleans(), "label": st.booleans(),
             "start_s": st.floats(-0.1, 1.0), "duration_s": st.floats(0, 2.0),
             "clean": st.sampled_from(["wiener", "noisereduce", None, "magic"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonInteractiveExampleWarning)
        return {name: drawn(odd if dice.random() < 0.4 else names[name], dice)
                for name in dice.sample(list(names), dice.randint(1, 4))}


def drawn(strategy: object, dice: random.Random) -> object:
    """Draw one example, the same for the same state of dice."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    kept = []

    @seed(dice.getrandbits(32))
    @settings(max_examples=4, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck))
    @given(strategy)
    def keep(value: object) -> None:
        kept.append(value)

    keep()
    return dice.choice(kept)


def try_settings(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Make a configuration of odd values and, where it is accepted, a video with it -> (case, what is wrong)."""
    import fakes

    from liveavatar import pipeline
    from liveavatar.config import GenerationConfig
    from liveavatar.types import InputError

    chosen = settings_of(chance(row, seed, number))
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            config = GenerationConfig(**chosen)
            video = pipeline.generate(fakes.tone(0.6), fakes.face(64, 64), "", config, backend="fake", progress=False,
                                      output=Path(name) / "out.mp4")
        except InputError as refused:
            return repr(chosen), "" if "\n" not in str(refused) else f"more than one line: {refused}"
        return repr(chosen), "" if video.frames and video.complete else f"{video.frames} pictures"


# ------------------------------------------------------------------------------------------------------------- names

ODD_TEXTS = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "a&b;<b>c",
             "line\nbreak", "tab\there", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "bell\x07", "{{data}}", "${7*7}",
             "%s%n%d", "../../up", "..\\up", "--output", "-", "~root", "$(id)", "`id`", "; ls", "\u202eright to left",
             "\u0000nul", "é" * 60, "🙂", "con", "nul.", " space ", "'quote'", "</title></script>", "C:\\x", "\r",
             "file:///etc/passwd", "http://127.0.0.1:9/x", "concat:a|b", "pipe:0", "data:,x", "%00", "\udcff",
             "\u2028separator", "\x9b31mcsi")


def try_name(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Give odd text as the name of a recording, a portrait or an output, or as a prompt; make a report of the video."""
    dice = chance(row, seed, number)
    text, place = dice.choice(ODD_TEXTS), dice.choice(("audio", "image", "prompt", "output", "missing"))
    case = f"{place}: {text!r}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, picture = good_files(folder)
        stem = text.replace("/", "_").replace("\0", "0")[:80]
        output = folder / (f"{stem}.mp4" if place == "output" else "out.mp4")
        if place == "audio":
            sound = Path(shutil.copy(sound, folder / f"{stem}.wav"))
        if place == "image":
            picture = Path(shutil.copy(picture, folder / f"{stem}.png"))
        image = f"{folder}/{stem}.none" if place == "missing" else str(picture)
        prompt = f"smiling {text}" if place == "prompt" else "smiling"
        code, said, errors = run_command(["generate", "--backend", "fake", "--sample_steps", "1", "--audio",
                                          str(sound), "--image", image, f"--prompt={prompt}", "--output", str(output)])
        wrong = judged(code, said, errors, output)
        if wrong or code == 2:
            return case, wrong
        return case, page_of(output, folder / "report.html", text)


def page_of(video: Path, page: Path, text: str) -> str:
    """Write the report of a video -> what is wrong with it."""
    from html.parser import HTMLParser

    code, said, errors = run_command(["report", str(video), "--output", str(page)])
    if code != 0:
        return f"report: exit code {code}: {errors[-300:]}"
    tags: list[tuple[str, dict]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page.read_text(encoding="utf-8"))
    bad = [tag for tag in tags if tag[0] in ("img", "svg") and ("onload" in tag[1] or tag[1].get("src") == "x")]
    policies = [tag for tag in tags if tag[0] == "meta" and "content-security-policy" in str(tag[1]).lower()]
    scripts = page.read_text(encoding="utf-8").count("alert(1)</script>")
    return f"markup in the report: {bad}" if bad or scripts else "" if policies else "no policy in the report"


# --------------------------------------------------------------------------------------------------------------- rows

Try = Callable[[str, str, int, int], tuple[str, str]]


def attempts_of(row: str, work: Try, kinds: tuple[str, ...]) -> Callable[[int, int, int], Iterator[Attempt]]:
    """Make the attempts of a row: kinds take turns, each in the same child process until it hangs or dies."""
    def attempts(seed: int, first: int, count: int) -> Iterator[Attempt]:
        with Worker() as worker:
            for number in range(first, first + count):
                kind = kinds[number % len(kinds)]
                answer, trouble = worker.call(work, row, kind, seed, number)
                case, wrong = answer or (kind, trouble)
                yield Attempt(f"{number}: {case}", not wrong, wrong)
    return attempts


def zip_bomb_png(side: int) -> bytes:
    """A PNG of side x side black pixels, a few kilobytes for each hundred megapixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(bytes(1 + side)) for _ in range(side)] + [packer.flush()])
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb_png(size: int) -> bytes:
    """A small PNG with a compressed text chunk that unpacks to `size` bytes."""
    import io

    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("note", "a" * size, zip=True)
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=notes)
    return file.getvalue()


def long_flac(seconds: int) -> bytes:
    """Silence of many hours in few bytes."""
    import io

    import numpy as np
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC", subtype="PCM_16") as flac:
        for _ in range(seconds // 600):
            flac.write(np.zeros(8000 * 600, np.int16))
    return file.getvalue()


BOMBS = {"PNG of 20,000 x 20,000 px": ("png", lambda: zip_bomb_png(20_000)),
         "PNG of 7,900 x 7,900 px": ("png", lambda: zip_bomb_png(7_900)),
         "PNG with 200 MB of text": ("png", lambda: text_bomb_png(200_000_000)),
         "FLAC of 24 hours, 1 s asked for": ("flac", lambda: long_flac(86_400))}


def try_bomb(row: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """Give a small file that unpacks to a huge one -> (case, what is wrong)."""
    ending, make = BOMBS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, picture = good_files(folder)
        given = folder / f"given.{ending}"
        given.write_bytes(make())
        pair = [str(given), str(picture)] if ending in SOUNDS else [str(sound), str(given)]
        return kind, generate_with(["--audio", pair[0], "--image", pair[1], "--duration", "1", "--crop", "none"],
                                   folder)
