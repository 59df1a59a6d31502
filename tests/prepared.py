"""Processes that begin with the large libraries imported: of groups of processes, and of the notebooks' kernels.

They are forked from a process that has imported the libraries and nothing of this package, so that a notebook meets
the package as it would in a new kernel, a few seconds sooner.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

LIBRARIES = ["torch", "diffusers.configuration_utils", "diffusers.models.modeling_utils", "numpy", "scipy.signal",
             "scipy.ndimage", "PIL.Image", "av", "soundfile", "matplotlib.pyplot", "safetensors.torch", "ipywidgets",
             "anywidget", "ipykernel.kernelapp", "IPython.display"]
HERE = Path(__file__).resolve().parent


@cache
def prepared() -> multiprocessing.context.ForkServerContext:
    """Return what starts such processes, as a module of its own like `multiprocessing`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


class PreparedKernel:
    """A kernel in such a process; as much of `subprocess.Popen` as Jupyter needs."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], folder: str | None, environment: dict[str, str]) -> None:
        """Start it. arguments: those of ipykernel_launcher"""
        begun, tells = prepared().Pipe(duplex=False)
        self._process = prepared().Process(target=run_kernel, args=(arguments, folder, environment, tells), daemon=True)
        self._process.start()
        tells.close()
        if begun.poll(300):
            begun.recv()                                   # from now on it is a group of processes by itself
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def run_kernel(arguments: list[str], folder: str | None, environment: dict[str, str], tells: Connection) -> None:
    """Be a kernel, as `python -m ipykernel_launcher` would: in a session, a folder and an environment of its own."""
    os.setsid()
    tells.send("begun")
    tells.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder or ".")
    sys.path[:] = [path for path in sys.path if not Path(path or ".").resolve().is_relative_to(HERE)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    sys.argv = ["ipykernel_launcher", *arguments]
    multiprocessing.process._children.clear()
    runpy.run_module("ipykernel_launcher", run_name="__main__")


def prepare_kernels() -> None:
    """Let Jupyter, in this process, start kernels of Python in prepared processes."""
    from jupyter_client.provisioning import local_provisioner

    launch = local_provisioner.launch_kernel

    def launch_prepared(command: list[str], cwd: str | None = None, env: dict[str, str] | None = None,
                        **options: object) -> object:
        start = command.index("ipykernel_launcher") + 1 if "ipykernel_launcher" in command else 0
        if not start or command[0] != sys.executable:
            return launch(command, cwd=cwd, env=env, **options)
        return PreparedKernel(command[start:], cwd, dict(os.environ if env is None else env))

    local_provisioner.launch_kernel = launch_prepared
