"""List the voices of this machine, or make the clips anew that come with the package."""

from __future__ import annotations

import argparse

from liveavatar.speech.shipped import SAMPLES, write_samples
from liveavatar.speech.synthesis import available_variants, available_voices


def main() -> None:
    """List voices or write clips, as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", action="store_true", help="make the package's sample clips anew")
    parser.add_argument("--voices", action="store_true", help="list the voices of this machine")
    arguments = parser.parse_args()
    if arguments.samples:
        write_samples()
        print(f"wrote {', '.join(sorted(path.name for path in SAMPLES.iterdir()))} in {SAMPLES}")
    if arguments.voices:
        print("\n".join(available_voices()))
        print("variants of espeak voices:", ", ".join(available_variants()))


if __name__ == "__main__":
    main()
