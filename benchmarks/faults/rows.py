"""All rows of the campaign, in the order of the table."""

from __future__ import annotations

from faults import bad_input as bad
from faults.attempts import Row

SENTENCE = "exit code 2 and one sentence before weights load, or a video that plays; no hang, at most 2 GiB"
REFUSED = "it opens, or InputError in one sentence; no other exception"


def bad_row(name: str, promise: str, work: bad.Try, kinds: tuple[str, ...], count: int) -> Row:
    return Row(name, "Bad input", promise, bad.attempts_of(name, work, kinds), count)


ROWS = (
    bad_row("damaged-sound", f"wav, flac, mp3, ogg, m4a, mp4 with damaged bytes: {SENTENCE}", bad.try_media,
            tuple(bad.SOUNDS), 600),
    bad_row("damaged-picture", f"png, jpeg, webp, gif with damaged bytes: {SENTENCE}", bad.try_media,
            tuple(bad.PICTURES), 400),
    bad_row("damaged-folder", f"saved traces, runs, memory records, adapters, weights, sweeps: {REFUSED}",
            bad.try_folder, bad.FOLDERS, 420),
    bad_row("other-json", f"saved JSON with a value of another type: {REFUSED}", bad.try_json,
            ("trace", "manifest", "sweep", "timeline", "recorded run"), 300),
    bad_row("inspected-video", "a damaged mp4 is inspected, or refused in one sentence", bad.try_inspection,
            ("mp4",), 60),
    bad_row("settings", "drawn by hypothesis: InputError in one sentence, or a complete video", bad.try_settings,
            ("settings",), 300),
    bad_row("names", "HTML, control characters and path tricks in names and prompts are shown as text",
            bad.try_name, ("name",), 200),
    bad_row("bombs", f"small files that unpack to huge ones: {SENTENCE}", bad.try_bomb, tuple(bad.BOMBS),
            len(bad.BOMBS)),
)
