"""A JupyterLab on loopback with a state of its own, and notebooks opened in Chromium: for tests, and for the pictures
of the documentation (docs/make_pictures.py)."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))                       # where this is imported by other programs than pytest
from ports import free_port  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 300
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}
SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update",
            "--autoplay-policy=no-user-gesture-required",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")     # a microphone that beeps
HARMLESS = (   # said by JupyterLab itself, whatever is shown in it
    "Canceled future",                                     # of a kernel that was restarted or shut down
    "favicon", "source map", "Failed to load resource: the server responded with a status of 404",
)

EXECUTE = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    for (;;) {
        const future = kernel.requestExecute({code, store_history: false});
        let text = '';
        future.onIOPub = (message) => {
            if (message.header.msg_type === 'stream') text += message.content.text;
            if (message.header.msg_type === 'error') text += message.content.ename + ': ' + message.content.evalue;
        };
        const reply = await future.done;
        if (reply.content.status !== 'aborted') return text;            // as after an error in what was asked before
    }
}"""
READY = """(path) => {
    const book = globalThis.jupyterapp?.shell?.currentWidget;
    return !!book && book.context?.path === path && book.context.isReady && book.sessionContext.isReady
        && book.sessionContext.session?.kernel?.status === 'idle';
}"""
ERRORS = """() => jupyterapp.shell.currentWidget.content.widgets.flatMap((cell) =>
    (cell.model.sharedModel.outputs ?? []).filter((output) => output.output_type === 'error')
        .map((output) => output.ename + ': ' + output.evalue))"""


KERNEL = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.model"
FOLLOW = """async ([path, kernel]) => {
    await jupyterapp.commands.execute('docmanager:open', {path, kernel});
}"""
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
RESTING = "import fakes; print(fakes.unsettled())"
RECORD = """([selector, attribute]) => {
    const one = document.querySelector(selector), seen = globalThis.recorded = [];
    globalThis.recorder?.disconnect();
    globalThis.recorder = new MutationObserver((records) => {
        for (const record of records) {
            if (record.type === 'attributes') seen.push(record.oldValue, one.getAttribute(attribute));
            else seen.push(...[...record.addedNodes].map((node) => node.textContent));
        }
    });
    globalThis.recorder.observe(one, attribute ? {attributeFilter: [attribute], attributeOldValue: true}
                                               : {subtree: true, childList: true});
}"""
SAID = """() => [...document.querySelectorAll('.la-error, .la-bench-state, .la-progress')]
    .map((one) => one.innerText).filter((words) => words).join(' | ')"""
FORGET = """
from ipywidgets import Widget
Widget.close_all()
get_ipython().run_line_magic("reset", "-f")
import gc
gc.collect()
"""


class Book:
    """A notebook that is open in the browser."""

    def __init__(self, page, path: str, base: str) -> None:
        self.page, self.path = page, path
        page.set_default_timeout(PATIENCE_S * 1000)
        self.complaints: list[str] = []
        self.left_the_machine: list[str] = []
        self._base = base
        self._hears = {"console": self._console, "pageerror": lambda error: self._complain(str(error)),
                       "request": self._request}
        for event, hear in self._hears.items():
            page.on(event, hear)

    def _complain(self, text: str) -> None:
        if not any(words in text for words in HARMLESS):
            self.complaints.append(text)

    def _console(self, message) -> None:
        if message.type == "error":
            self._complain(message.text)

    def _request(self, request) -> None:
        if not request.url.startswith((self._base, self._base.replace("http", "ws"), "data:", "blob:")):
            self.left_the_machine.append(request.url)

    def run(self, code: str) -> str:
        """Run code in the kernel; what it printed, or its error."""
        return self.page.evaluate(EXECUTE, code).strip()

    def wait_for(self, script: str, argument: object = None) -> None:
        """Until the script, a function in the browser, says yes."""
        from playwright.sync_api import TimeoutError as TookTooLong

        try:
            self.page.wait_for_function(script, arg=argument, timeout=PATIENCE_S * 1000)
        except TookTooLong as error:
            raise AssertionError(f"never came true: {script}; the page says: {self.page.evaluate(SAID)}") from error

    def wait_for_kernel(self, expression: str) -> None:
        """Until an expression is true in the kernel."""
        patient_until = time.monotonic() + PATIENCE_S
        while self.run(f"print(bool({expression}))") != "True":
            assert time.monotonic() < patient_until, f"never came true: {expression}"
            self.page.wait_for_timeout(100)

    def wait_until(self, happened: Callable[[], object]) -> None:
        """Until a function of the test, which looks at the page, says yes."""
        patient_until = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < patient_until, f"never came true; the page says: {self.page.evaluate(SAID)}"
            self.page.wait_for_timeout(50)

    def settle(self) -> None:
        """Until page and kernel are at rest: what was clicked and typed has arrived, and every view in sight is drawn
        on the page as the kernel knows it. Not while a run is going or a video plays for long."""
        patient_until, calm = time.monotonic() + PATIENCE_S, 0
        while calm < 2:                                    # a trait that has changed twice is told of a moment later
            self.page.evaluate(FRAMES)
            unsettled = self.run(RESTING).splitlines()[-1]
            calm = calm + 1 if unsettled == "[]" else 0
            assert time.monotonic() < patient_until, f"never at rest: {unsettled}"
        self.page.evaluate(FRAMES)

    def record(self, selector: str, attribute: str = "") -> None:
        """Record from now on every text, or every value of an attribute, that the first such element has: what is
        there for a moment only can be missed by looking. `recorded` returns it."""
        self.page.evaluate(RECORD, [selector, attribute])

    def recorded(self) -> list[str]:
        """Return all that was recorded."""
        return self.page.evaluate("() => globalThis.recorded")

    def wait_for_record(self, value: str) -> None:
        """Until a value, or a text that begins so, was recorded."""
        self.wait_for("(value) => globalThis.recorded.some((one) => one?.startsWith(value))", value)

    def theme(self, dark: bool) -> None:
        self.page.evaluate("(name) => jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
                           "JupyterLab Dark" if dark else "JupyterLab Light")
        self.wait_for("(dark) => document.body.dataset.jpThemeLight === String(!dark)", dark)

    def shoot(self, selector: str, name: str) -> None:
        """A screenshot of the first element, light and dark, where screenshots are wanted."""
        folder = os.environ.get("LIVEAVATAR_SHOTS")
        if not folder:
            return
        for dark in (True, False):
            self.theme(dark)
            self.page.wait_for_timeout(300)
            path = Path(folder) / f"{name}-{'dark' if dark else 'light'}.png"
            self.page.locator(selector).first.screenshot(path=path)

    def run_all(self) -> None:
        """Wait until the notebook is there, and run it; fail where a cell fails."""
        self.wait_for(READY, self.path)
        self.page.evaluate("async () => { jupyterapp.shell.collapseLeft?.(); "
                           "await jupyterapp.commands.execute('notebook:run-all-cells'); }")
        failed = self.page.evaluate(ERRORS)
        assert failed == [], failed

    def close(self) -> None:
        """Close the page; complaints and requests to elsewhere fail the test."""
        self.page.evaluate("async () => { await jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
        self.page.context.close()
        self.check()

    def leave(self) -> None:
        """Close the notebook, not the page; its kernel forgets what it made. Complaints fail the test."""
        self.run(FORGET)
        self.page.evaluate("() => jupyterapp.shell.currentWidget.dispose()")
        for event, hear in self._hears.items():
            self.page.remove_listener(event, hear)
        self.check()

    def check(self) -> None:
        """Fail where something was complained of, or asked of another machine."""
        assert self.left_the_machine == []
        # JupyterLab's own word for a message to a kernel that a test has taken away
        heard = [text for text in self.complaints if text != "Cannot send"]
        assert heard == [], heard


@contextmanager
def start_lab(home: Path, root: Path) -> Iterator[dict]:
    """Run JupyterLab until the end of the block. home: folder for its state; root: the folder that it shows.

    Yields base (its address), token and root. Raises RuntimeError with its log where it does not start.
    """
    with start_server(["jupyterlab", "--allow-root", f"--ServerApp.root_dir={root}"], home, root, SETTINGS) as server:
        yield server | {"root": root}


@contextmanager
def start_server(module: list[str], home: Path, folder: Path, settings: dict[str, dict]) -> Iterator[dict]:
    """Run a server that `python -m module` starts in `folder`, with a state of its own in `home` and these settings of
    JupyterLab; yields base (its address) and token. Raises RuntimeError with its log where it does not start."""
    for name, values in settings.items():
        extension, _, plugin = name.partition("/")
        path = home / "settings" / "@jupyterlab" / extension / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    private = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
               "IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime",
               "JUPYTER_DATA_DIR": "data"}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {key: str(home / name) for key, name in private.items()} | {
        "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    port = free_port()
    token, base = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", *module, "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"]
    with open(home / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for_server(f"{base}/api/status?token={token}", server, home / "lab.log")
            yield {"base": base, "token": token}
        finally:
            with suppress(OSError):                        # a server below this process is ended by its own request
                urllib.request.urlopen(urllib.request.Request(
                    f"{base}/api/shutdown", b"", {"Authorization": f"token {token}"}), timeout=5).close()
            server.terminate()
            try:
                server.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for_server(url: str, server: subprocess.Popen, log: Path) -> None:
    patient_until = time.monotonic() + PATIENCE_S
    while time.monotonic() < patient_until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def start_chromium() -> Iterator[object]:
    """Run a Chromium without a window until the end of the block; yields Playwright's Browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield browser
        browser.close()


def write_notebook(folder: Path, cells: tuple[str, ...], name: str = "") -> str:
    """Write a notebook of code cells and return its name in the folder."""
    import nbformat

    name = f"{name or secrets.token_hex(4)}.ipynb"
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(content, folder / name)
    return name


def open_book(lab: dict, chromium: object, name: str, size: tuple[int, int] = (1400, 900), scale: float = 1.0) -> Book:
    """Open a notebook of the lab's folder and run it; fail where a cell fails. size: of the window, (width, height)."""
    page = chromium.new_context(viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale).new_page()
    book = Book(page, name, lab["base"])
    page.goto(f"{lab['base']}/lab/tree/{name}?token={lab['token']}&reset")     # no tabs of before
    book.run_all()
    return book


class Window:
    """One page with one kernel, in which notebooks are opened one after the other: far quicker than a kernel each."""

    def __init__(self, lab: dict, chromium: object, size: tuple[int, int] = (1400, 900)) -> None:
        self._lab, self._size, self._kernel = lab, {"width": size[0], "height": size[1]}, None
        self._page = chromium.new_context(viewport=self._size).new_page()

    def open(self, *cells: str) -> Book:
        """Open a notebook of these code cells and run it; `Book.leave` makes room for the next one."""
        name = write_notebook(self._lab["root"], cells)
        book = Book(self._page, name, self._lab["base"])
        if self._kernel is None:
            self._page.goto(f"{self._lab['base']}/lab/tree/{name}?token={self._lab['token']}&reset")
            book.wait_for(READY, name)
            self._kernel = self._page.evaluate(KERNEL)
        else:
            self._page.set_viewport_size(self._size)
            self._page.evaluate(FOLLOW, [name, self._kernel])
        book.run_all()
        return book
