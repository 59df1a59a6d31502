"""What is served and what is written: addresses, tokens, names of folders, and calls that run what a file says."""

from __future__ import annotations

import ast
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from faults.attempts import ROOT, Attempt, Worker, chance, run_command
from faults.killed import make_inputs

PATIENCE_S = 90
CLOSED = ("/api/contents", "/api/kernels", "/api/sessions", "/api/terminals", "/files/README.md", "/api/shutdown",
          "/lab/api/settings")
FORBIDDEN = {"eval", "exec", "compile"}              # as plain names; torch.compile and re.compile are attributes
UNSAFE = {"pickle", "marshal", "shelve", "dill", "joblib.load"}


# ------------------------------------------------------------------------------------------------------ the server

def servers(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Start `liveavatar lab` and ask it for things, with its token and without."""
    for number in range(first, first + count):
        with tempfile.TemporaryDirectory() as name:
            wrong = ask_server(Path(name))
        yield Attempt(f"{number}: liveavatar lab", not wrong, wrong)


def ask_server(home: Path) -> str:
    """Start the server with a state of its own -> what is wrong."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {name: str(home / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR",
                                                  "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    server = subprocess.Popen([sys.executable, "-m", "liveavatar", "lab", "--", "--no-browser", f"--port={port}"],
                              env=os.environ | places | {"PYTHONPATH": str(ROOT)}, cwd=ROOT,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        about = wait_for_server(Path(places["JUPYTER_RUNTIME_DIR"]), server)
        if about is None:
            return "the server did not start"
        return open_addresses(server.pid) or open_doors(about) or open_doors(about, "?token=wrong")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for_server(folder: Path, server: subprocess.Popen) -> dict | None:
    """Wait for the file in which a Jupyter server says its address and token."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends and server.poll() is None:
        for path in folder.glob("jpserver-*.json"):
            about = json.loads(path.read_text())
            if status_of(f"{about['url']}api/status?token={about['token']}") == 200:
                return about
        time.sleep(0.3)
    return None


def open_addresses(pid: int) -> str:
    """Return what is wrong with the addresses that a process and its children listen at."""
    import psutil

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    heard = [connection.laddr.ip for process in family for connection in process.net_connections("inet")
             if connection.status == psutil.CONN_LISTEN]
    outside = [address for address in heard if address not in ("127.0.0.1", "::1")]
    return f"it listens at {outside}" if outside or not heard else ""


def open_doors(about: dict, query: str = "") -> str:
    """Return what a server answers without its token."""
    if len(about["token"]) < 32:
        return f"its token has {len(about['token'])} characters"
    opened = {path: status_of(f"{about['url'].rstrip('/')}{path}{query}") for path in CLOSED}
    opened = {path: status for path, status in opened.items() if status not in (401, 403, 404, 405)}
    return f"answered without a token: {opened}" if opened else ""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Take a way to the login page for what it is."""

    def redirect_request(self, *_: object) -> None:
        return None


def status_of(url: str) -> int:
    """Return the status of an answer; a way to the login page counts as 401."""
    try:
        with urllib.request.build_opener(NoRedirect).open(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return 401 if error.code == 302 and "login" in error.headers.get("Location", "") else error.code
    except OSError:
        return 0


# ------------------------------------------------------------------------------------------------- names of folders

def saved_files(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Make and save things in a folder with a name of its own; no file may hold that name, the user's or the host's."""
    with Worker(120) as worker:
        yield from worker.attempts(try_saved, seed, first, count)


def try_saved(seed: int, number: int) -> tuple[str, str]:
    """Save one kind of file -> (kind, what is wrong)."""
    dice = chance("no-paths", seed, number)
    kind = list(SAVED)[number % len(SAVED)]
    secret = f"secret-{dice.randrange(10**9)}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / secret / "inner"
        folder.mkdir(parents=True)
        made = SAVED[kind](folder)
        words = [secret, str(Path.home()), socket.gethostname(), str(ROOT)]
        if len(getpass.getuser()) > 4:                            # "root" is a word of its own
            words.append(getpass.getuser())
        found = [word for word in words if len(word) > 5 and word.encode() in made.read_bytes()]
        return kind, f"{made.name} holds {found}" if found else ""


def generated(folder: Path, ending: str) -> Path:
    """Make a video with mini from files in a folder."""
    output = folder / f"out.{ending}"
    code, _, errors = run_command(["generate", *make_inputs(folder, 0.6), "--size", "64*64", "--sample_steps", "1",
                                   "--output", str(output)])
    if code != 0:
        raise RuntimeError(errors)
    return output


def report_of(folder: Path) -> Path:
    """Write the report of such a video."""
    return page_of(folder, "report", "--output")


def inspection_of(folder: Path) -> Path:
    """Write the report of an inspection."""
    return page_of(folder, "inspect-video", "--report")


def page_of(folder: Path, command: str, option: str) -> Path:
    """Let a command write a page about such a video."""
    page = folder / "page.html"
    code, _, errors = run_command([command, str(generated(folder, "mp4")), option, str(page)])
    if code != 0:
        raise RuntimeError(errors)
    return page


def saved_by(name: str, ending: str) -> object:
    """Return what saves a run as the page does."""
    def save(folder: Path) -> Path:
        import liveavatar
        from liveavatar.config import GenerationConfig
        from liveavatar.runs.run import Run
        from widgets import _save

        make_inputs(folder, 0.6)
        run = Run.of(liveavatar.load("mini"), str(folder / "in.wav"), str(folder / "in.png"), "",
                     GenerationConfig(size=(64, 64), sample_steps=1), output=folder / "out.mp4")
        run.start().result()
        path = folder / f"saved.{ending}"
        getattr(_save, name)(run, path)
        return path

    return save


SAVED = {"mp4": lambda folder: generated(folder, "mp4"), "webm": lambda folder: generated(folder, "webm"),
         "report": report_of, "inspection": inspection_of, "picture": saved_by("save_picture", "png"),
         "grid": saved_by("save_grid", "gif"), "saved report": saved_by("save_report", "html"),
         "saved video": saved_by("save_video", "mp4")}


# ---------------------------------------------------------------------------------------------------------- sources

def sources(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Look through every file of the package for calls that run what a file or a person says."""
    for number in range(first, first + count):
        files = [path for package in ("liveavatar", "widgets") for path in sorted((ROOT / package).rglob("*.py"))]
        found = [f"{path.relative_to(ROOT)}:{line} {what}" for path in files for line, what in dangerous_calls(path)]
        yield Attempt(f"{number}: {len(files)} files", not found, "; ".join(found))


def dangerous_calls(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, what) of pickle, eval, exec, a shell, and torch.load without weights_only."""
    text = path.read_text(encoding="utf-8")
    if not any(words in text for words in (*FORBIDDEN, *UNSAFE, "os.system", "shell=", "torch.load")):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            yield from ((node.lineno, name) for name in names & UNSAFE if "UnpicklingError" not in names)
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in FORBIDDEN or called in UNSAFE or called == "os.system" or given.get("shell") == "True":
            yield node.lineno, called
        if called.endswith("torch.load") and given.get("weights_only") != "True":
            yield node.lineno, f"{called} without weights_only"
