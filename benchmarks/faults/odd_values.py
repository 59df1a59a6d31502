"""Odd settings and odd names. The row of settings needs `pip install 'liveavatar[trust]'` (hypothesis)."""

from __future__ import annotations

import random
import shutil
import tempfile
import warnings
from pathlib import Path

from faults.attempts import chance, run_command
from faults.bad_input import judged
from faults.saved_files import good_files


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
             "ring_frames": st.sampled_from([3, 6, 12, None, 4]), "portrait_sink": st.booleans(),
             "cache_level": st.sampled_from(["own", "clean", "magic"]), "guidance": st.floats(0, 2),
             "enable_online_decode": st.booleans(), "label": st.booleans(),
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
