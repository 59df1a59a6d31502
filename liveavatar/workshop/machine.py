"""Look at a participant's machine with the checks of `liveavatar doctor` and some of its own, and say what to do."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from liveavatar import doctor
from liveavatar.doctor import NOTE, OK, WRONG, Finding, examine
from liveavatar.version import __version__

SLOW = 0.4                      # times real time: below it a lesson of seconds becomes one of minutes
SOUND_CARDS = Path("/proc/asound/cards")


def main(as_json: bool = False) -> int:
    """Print what was found and what to do; return the exit code: 1 where this machine cannot take part as it is."""
    findings = []
    for finding in examine(CHECKS):
        findings.append(finding)
        if not as_json:
            print(finding, flush=True)
    ready, advice = verdict(findings)
    if as_json:
        print(json.dumps({"version": __version__, "ready": ready, "advice": advice,
                          "findings": [asdict(one) for one in findings]}, indent=1))
    else:
        print("\n" + "\n".join(advice))
    return 0 if ready else 1


def verdict(findings: Sequence[Finding]) -> tuple[bool, list[str]]:
    """Say whether the machine is ready, and what to do, a sentence a line."""
    wrong = [one.topic for one in findings if one.state == WRONG]
    if wrong:
        return False, [f"Not ready: {', '.join(wrong)}. Do what stands behind -> above and run this again; where that "
                       "does not help, work with a neighbour and show these lines to whoever leads the workshop."]
    advice = ["Ready for the workshop."]
    speed = next((one.values.get("x_realtime") for one in findings if one.topic == "speed"), None)
    if speed is not None and speed < SLOW:
        advice.append(f"It is slow here, {speed:.2f} times real time: close other programs, run the first cells of a "
                      "lesson before it begins, and choose short videos (duration_s=0.96).")
    notes = [one.topic for one in findings if one.state == NOTE and one.topic != "speed"]
    if notes:
        advice.append(f"Worth a look, but no obstacle: {', '.join(notes)}.")
    return True, [*advice, "Start with: liveavatar lab"]


# ------------------------------------------------------------------------------------------- checks of its own

def check_sound() -> Finding:
    """Check whether a recording can be read, and look for a device that plays it (where the system says so: Linux)."""
    from liveavatar.speech import samples

    spoken = samples()
    seconds = {name: round(one.duration_s, 2) for name, one in spoken.items()}
    found = f"{len(spoken)} recordings can be read"
    if platform.system() != "Linux":
        return Finding("sound", OK, f"{found}; play one to hear whether the loudspeaker is on", values=seconds)
    cards = SOUND_CARDS.read_text(encoding="utf-8", errors="replace") if SOUND_CARDS.is_file() else ""
    if not cards.strip() or "no soundcards" in cards:
        return Finding("sound", NOTE, f"{found}; no sound card was found here",
                       "where the browser runs on another machine, that one plays; else lessons can be followed by eye",
                       seconds)
    return Finding("sound", OK, f"{found}, and there is a sound card", values=seconds)


def check_notebooks() -> Finding:
    """Check whether the lessons are there, and a kernel to run them with."""
    from jupyter_client.kernelspec import KernelSpecManager

    from liveavatar.demo import notebooks_folder
    from liveavatar.lessons import progress_file

    folder = notebooks_folder()
    lessons = sorted(path.stem for path in folder.glob("??_*.ipynb"))
    kernels = sorted(KernelSpecManager().find_kernel_specs())
    values = {"notebooks": lessons, "kernels": kernels, "progress": str(progress_file())}
    if "python3" not in kernels:
        return Finding("lessons", WRONG, "Jupyter has no kernel `python3`", "python -m ipykernel install --sys-prefix",
                       values)
    if find_spec("transformers") is None:
        return Finding("lessons", NOTE, f"{len(lessons)} notebooks in {folder}; those on the 14B model need "
                       "the library transformers", "pip install 'liveavatar[wan]'", values)
    return Finding("lessons", OK, f"{len(lessons)} notebooks in {folder}; progress is kept in {progress_file()}",
                   values=values)


def check_browser() -> Finding:
    """Look for a browser as the doctor does, and where it finds none, for other names of one."""
    finding = doctor.check_browser()
    if finding.state == OK or platform.system() != "Linux":
        return finding
    other = next(filter(None, map(shutil.which, ("firefox", "firefox-esr", "microsoft-edge", "brave-browser"))), None)
    return finding if other is None else Finding("browser", OK, other, values=finding.values | {"other": other})


CHECKS: tuple[Callable[[], Finding], ...] = (
    doctor.check_python, doctor.check_libraries, doctor.check_torch, doctor.check_threads, doctor.check_memory,
    doctor.check_disk, check_browser, check_sound, doctor.check_video, check_notebooks, doctor.check_speed)
