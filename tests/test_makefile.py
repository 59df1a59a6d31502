"""What `make` would do on a fresh machine: which Python it takes, what it fetches, what it says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="needs make")


@pytest.fixture
def machine(tmp_path):
    """machine(name=fits, ...) -> a function that runs make where only those Pythons are found."""
    def with_pythons(**pythons):
        tools = tmp_path / "bin"
        tools.mkdir(exist_ok=True)
        for tool in ("sh", "uname", "ls", "echo"):
            (tools / tool).symlink_to(shutil.which(tool))
        for name, fits in pythons.items():
            path = tools / name.replace("_", ".")
            path.write_text("#!/bin/sh\n" + (f'exec {sys.executable} "$@"\n' if fits else "exit 1\n"))
            path.chmod(0o755)
        environment = {"PATH": str(tools), "HOME": str(tmp_path), "LANG": "C"}

        def make(*arguments):
            run = subprocess.run([MAKE, f"VENV={tmp_path / 'venv'}", *arguments], cwd=ROOT, env=environment,
                                 capture_output=True, text=True)
            return run.returncode, run.stdout + run.stderr
        return make
    return with_pythons


def test_the_first_python_that_fits_is_taken(machine):
    make = machine(python3=False, python3_13=False, python3_12=True, python3_11=True)
    status, said = make("-n", "setup")
    assert status == 0 and '"python3.12" -m venv' in said


def test_an_environment_that_works_is_kept_whatever_python_comes_first(machine, tmp_path):
    make = machine(python3=True)
    (tmp_path / "bin" / "touch").symlink_to(shutil.which("touch"))
    inside = tmp_path / "venv" / "bin" / "python"
    inside.parent.mkdir(parents=True)
    inside.write_text("#!/bin/sh\nexit 0\n")
    inside.chmod(0o755)
    assert make("setup")[0] == 0 and not (tmp_path / "venv" / "pyvenv.cfg").exists()
    assert '|| "python3" -m venv' in make("-n", "-B", "setup")[1]      # where it does not work


def test_without_one_it_says_what_to_install_and_stops(machine):
    make = machine(python3=False)
    status, said = make("setup")
    assert status and "Python 3.11, 3.12 or 3.13" in said and "apt-get install" in said and "brew install" in said
    status, said = make("setup", "PYTHON=python3")
    assert status and "python3 does not fit" in said


def test_the_build_of_torch_can_be_chosen(machine):
    make = machine(python3=True)
    url = "https://example.org/cpu"
    assert f"--extra-index-url {url} -c constraints.txt" in make("-n", "demo", f"TORCH_INDEX={url}")[1]
    said = make("-n", "demo")[1]
    assert "--extra-index-url" not in said
    assert "6 GB" in said and "make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu" in said


def test_lab_opens_the_workbench_as_the_command_does(machine):
    assert "-m liveavatar lab" in machine(python3=True)("-n", "lab")[1]


def test_where_node_is_not_there_scripts_are_not_linted_and_that_is_said(machine):
    status, said = machine()("lint-scripts")
    assert status == 0 and said.startswith("Scripts are not linted: that takes Node.js") and said.count("\n") == 1
