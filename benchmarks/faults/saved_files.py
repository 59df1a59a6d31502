"""Whole files and folders of every kind that the project reads, for the rows that damage them."""

from __future__ import annotations

from pathlib import Path

SOUNDS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "", "m4a": "aac", "mp4": "aac"}
PICTURES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF"}
FOLDERS = ("trace", "memory", "adapter", "manifest", "sweep", "timeline", "recorded run")


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


def good_files(folder: Path) -> tuple[Path, Path]:
    """A recording and a portrait that can be used."""
    sound, picture = folder / "good.wav", folder / "good.png"
    write_sound(sound)
    write_picture(picture)
    return sound, picture
