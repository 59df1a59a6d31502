"""Install the Live Avatar workbench from this folder, without a network.

    python3 install.py              into .venv beside this file
    python3 install.py FOLDER       into another folder
    python3 install.py --check      only look whether the folder is whole and fits this machine

It needs the Python that the folder was made for, with its venv module, and nothing else.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Check the folder, make the environment, install into it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=str(HERE / ".venv"), help="where the environment is made")
    parser.add_argument("--check", action="store_true", help="install nothing")
    asked = parser.parse_args()
    try:
        about = json.loads((HERE / "pack.json").read_text(encoding="utf-8"))
        fault = fault_of(about)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        fault = "pack.json is missing or damaged; copy the folder again"
    if fault:
        print(f"install.py: {fault}", file=sys.stderr)
        return 1
    if asked.check:
        print(f"whole: {len(about['wheels'])} wheels, and they fit this machine")
        return 0
    where = Path(asked.folder).expanduser().absolute()
    print(f"Making {where}; this takes a minute or two.", flush=True)
    try:
        venv.create(where, with_pip=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:     # Debian has ensurepip in a package apart
        print(f"install.py: {where} cannot be made ({error}); name another folder, or install Python's venv module "
              f"(Debian: apt install python{about['python']}-venv)", file=sys.stderr)
        return 1
    programs = where / ("Scripts" if sys.platform == "win32" else "bin")
    done = subprocess.run([str(programs / "python"), "-m", "pip", "--isolated", "install", "--quiet", "--no-index",
                           "--find-links", str(HERE / "wheels"), about["install"]], check=False)
    if done.returncode:
        print("install.py: pip could not install; its own words stand above", file=sys.stderr)
        return 1
    print(f"Done. Stay in this folder ({HERE}), and:\n  {programs / 'liveavatar'} workshop    is this machine ready?\n"
          f"  {programs / 'liveavatar'} lab         the lessons, in the browser")
    return 0


def fault_of(about: dict) -> str:
    """Say in a sentence why this folder cannot be installed here; "" where it can."""
    here = ".".join(map(str, sys.version_info[:2]))
    if here != about["python"]:
        return (f"this folder is for Python {about['python']} and this is {here}; start it with "
                f"python{about['python']}, or ask for a folder that was made with yours")
    if about["platform"] != sysconfig.get_platform():
        return (f"this folder is for {about['platform']} and this machine is {sysconfig.get_platform()} "
                f"({platform.system()}); ask for a folder that was made on such a machine")
    for name, digest in about["wheels"].items():
        path = HERE / "wheels" / name
        if not path.is_file():
            return f"wheels/{name} is missing; copy the folder again"
        if digest_of(path) != digest:
            return f"wheels/{name} is damaged; copy the folder again"
    return ""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
