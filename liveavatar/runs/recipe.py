"""How a video was made, read from its own metadata, and its inputs, found again by their hashes.

    video.mp4 --read_recipe--> Recipe --find_inputs(folders)--> recording and portrait, or None where not found
    Recipe, Recipe --differences--> what differs: seed, prompt, settings, inputs
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import liveavatar
from liveavatar.config import GenerationConfig
from liveavatar.files import user_path
from liveavatar.inputs import Audio, Image
from liveavatar.runfolder import ENCODING, RunFolder, fingerprint_of, read_portrait, sha256_of
from liveavatar.types import InputError, Portrait, Speech
from liveavatar.video import read_provenance

SOUNDS = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".webm", ".mkv", ".mov"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SAMPLES = Path(liveavatar.__file__).parent / "samples"
MOST_FILES = 3000                       # of a folder, that are looked at


@dataclass(frozen=True)
class Recipe:
    """All that a video says about how it was made."""

    path: Path                           # of the video, or of the folder
    about: dict                          # as `read_provenance` returns it
    config: GenerationConfig

    @property
    def backend(self) -> dict:
        """Return the model: name, student, dtype, fingerprint of the weights."""
        return self.about.get("backend", {})

    @property
    def prompt(self) -> str:
        return self.input("prompt").get("text", "")

    def input(self, name: str) -> dict:
        """Return what is known of "audio" or "portrait" (source, sha256) or "prompt" (text, slots)."""
        return self.about.get("inputs", {}).get(name, {})

    def settings(self) -> dict[str, object]:
        """Return the recipe as one flat table: model, prompt, inputs, and every setting of the video."""
        model = self.backend
        known = {"prompt": self.prompt, "seed": self.config.base_seed, "steps": self.config.sample_steps,
                 "recording": self.input("audio").get("source", ""),
                 "portrait": self.input("portrait").get("source", ""),
                 "model": model.get("name", ""), "student": model.get("student", ""), "dtype": model.get("dtype", ""),
                 "weights": model.get("fingerprint", "")}
        rest = self.config.to_dict()
        for name in ("base_seed", "sample_steps"):
            rest.pop(name, None)
        changed = self.about.get("branch")
        return known | rest | ({"changed steps": "; ".join(map(in_words, changed))} if changed else {})


def in_words(change: dict) -> str:
    """Name what a branch changed at a step: "step 1 of block 2: seed 7"."""
    values = {name: value for name, value in change.items() if name not in ("block", "step")}
    told = {"prompt": lambda prompt: repr(prompt["text"]), "speech": lambda _: "another"}
    words = [f"{name} {told.get(name, str)(value)}" for name, value in values.items()]
    return f"step {change['step']} of block {change['block']}: {', '.join(words) or 'nothing'}"


def read_recipe(path: str | os.PathLike) -> Recipe:
    """Read how a video, a run folder or a folder of Run.save was made.

    Raises InputError where that is not known, since it is no video of ours or there is no such file.
    """
    path = user_path(path)
    if path.is_dir():
        about = folder_description(path)
    elif path.is_file():
        try:
            about = read_provenance(path)
        except (OSError, ValueError) as error:                   # FFmpeg's errors are both kinds
            raise InputError(f"{path} is not a video that can be read ({error}); give one that liveavatar "
                             "made") from error
    else:
        raise InputError(f"{path} does not exist; give a video that liveavatar made")
    try:
        config = GenerationConfig.from_dict(about["config"])
    except (KeyError, TypeError):
        raise InputError(f"{path} does not say how it was made; only videos of liveavatar keep their recipe") from None
    return Recipe(path, about, config)


def folder_description(folder: Path) -> dict:
    """Return what a run folder, or one of Run.save, says of its origin. Raises InputError where it holds no run."""
    if not (folder / "trace.json").is_file():
        return RunFolder(folder).read()
    try:
        about = json.loads((folder / "run.json").read_text(**ENCODING))
        return about.get("provenance") or {"config": about["facts"]["config"],
                                           "backend": {"name": about["facts"]["backend"]}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no run that can be read ({error}); give a folder of Run.save") from error


# ------------------------------------------------------------------------------------------- inputs

def find_inputs(recipe: Recipe, folders: Iterable[str | os.PathLike]) -> tuple[Audio | None, Image | None]:
    """Find the recording and the portrait of a recipe by their hashes: among the samples of this package, in run
    folders, and in the files of the folders and of their subfolders. None for what is not found."""
    folders = [*dict.fromkeys(user_path(folder) for folder in folders)]
    audio, portrait = recipe.input("audio").get("sha256", ""), recipe.input("portrait").get("sha256", "")
    source = recipe.input("audio").get("source", "")
    sound = sample_of(audio) or find_file(audio, [*folders, SAMPLES], SOUNDS, source)
    picture = find_file(portrait, [*folders, SAMPLES], PICTURES, recipe.input("portrait").get("source", ""))
    if sound is None or picture is None:
        kept_sound, kept_picture = kept_inputs(audio, portrait, folders)
        sound, picture = sound or kept_sound, picture or kept_picture
    return sound, picture or avatar_of(recipe)


def sample_of(sha256: str) -> Speech | None:
    """Return the recording of this package with a hash; None where it is none of them."""
    from liveavatar.speech import samples

    return next((speech for speech in samples().values() if sha256_of(speech) == sha256), None)


def avatar_of(recipe: Recipe) -> Portrait | None:
    """Draw the avatar of a recipe again; None where the portrait was no avatar, or another one is drawn today."""
    known = recipe.input("portrait")
    asked = known.get("drawn")
    if not isinstance(asked, dict):
        return None
    try:
        portrait = liveavatar.avatar(**asked | {"size": tuple(asked["size"])})
    except (InputError, KeyError, TypeError, ValueError):
        return None
    return portrait if portrait.sha256 == known.get("sha256") else None


def find_file(sha256: str, folders: Iterable[Path], suffixes: set[str], name: str) -> Path | None:
    """Return the file with a hash; those of the same name are looked at first. None where there is none."""
    if not sha256:
        return None
    paths = [path for folder in folders for path in files_in(folder) if path.suffix.lower() in suffixes]
    for path in sorted(paths, key=lambda path: path.name != name):
        try:
            if fingerprint_of(path) == sha256:
                return path
        except OSError:
            continue
    return None


def kept_inputs(audio: str, portrait: str, folders: Iterable[Path]) -> tuple[Audio | None, Portrait | None]:
    """Return the recording and the portrait with these hashes from run folders, which keep exact copies."""
    sound, picture = None, None
    for folder in folders:
        for path in files_in(folder):
            if path.name != "run.json":
                continue
            try:
                about = folder_description(path.parent)
                inputs = about.get("inputs", {})
                if picture is None and portrait and inputs["portrait"]["sha256"] == portrait:
                    picture = read_portrait(path.parent / "portrait.safetensors")
                if sound is None and audio and inputs["audio"]["sha256"] == audio:
                    sound = kept_sound(path.parent, audio)
            except (InputError, OSError, KeyError, TypeError):
                continue
    return sound, picture


def kept_sound(folder: Path, sha256: str) -> Audio | None:
    """Return the whole recording of a run folder: the file as it was given, or the samples of a synthetic voice; None
    where only a stretch of it was kept."""
    original = folder / "sound.original"
    if original.is_file() and fingerprint_of(original) == sha256:
        return original
    speech = RunFolder(folder).inputs()[0]
    return speech if sha256_of(speech) == sha256 else None


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of its subfolders, at most MOST_FILES; hidden ones are left out."""
    def walk() -> Iterator[Path]:
        for place, names, files in os.walk(folder):
            depth = len(Path(place).relative_to(folder).parts)
            names[:] = sorted(name for name in names if not name.startswith(".") and depth < 3)
            yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))

    return islice(walk(), MOST_FILES)


def inputs_of(recipe: Recipe, audio: Audio | None = None, image: Image | None = None,
              folders: Iterable[str | os.PathLike] = ()) -> tuple[Audio, Image]:
    """Return the inputs of a recipe: those that are given, else those that are found by their hashes in the folders,
    in that of the video and in the current one. Raises InputError, with what to give, where one is not found."""
    changed = recipe.about.get("branch")
    if changed:
        raise InputError(f"{recipe.path.name} is a branch of another run ({'; '.join(map(in_words, changed))}); make "
                         "that run again and branch it, run.branch(...), or open a folder of Run.save")
    if audio is None or image is None:
        found_audio, found_image = find_inputs(recipe, [*folders, recipe.path.parent, Path.cwd()])
        audio, image = audio or found_audio, image or found_image
    for name, option, value in (("audio", "--audio", audio), ("portrait", "--image", image)):
        if value is None:
            known = recipe.input(name)
            hashed = known.get("sha256", "")[:12] or "unknown"
            words = f"{known.get('source') or 'of unknown name'} (sha256 {hashed}...)"
            kind = "recording" if name == "audio" else "portrait"
            raise InputError(f"the {kind} of {recipe.path.name}, {words}, was not found beside the video nor in the "
                             f"current folder; give it with {option}")
    return audio, image


# ------------------------------------------------------------------------------------------- comparing

def differences(one: Recipe, other: Recipe) -> list[tuple[str, object, object]]:
    """List (setting, its value in one, in the other) of all that differs; inputs are told apart by their hashes."""
    first, second = one.settings(), other.settings()
    found = [(name, first.get(name), second.get(name)) for name in {**first, **second}
             if first.get(name) != second.get(name) and name not in ("recording", "portrait")]
    for name, key in (("recording", "audio"), ("portrait", "portrait")):
        a, b = one.input(key), other.input(key)
        if a.get("sha256") != b.get("sha256"):
            found.append((name, *(f"{value.get('source', '')} ({value.get('sha256', '')[:8]})" for value in (a, b))))
    return found
