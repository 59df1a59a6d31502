"""All rows of the campaign, in the order of the table."""

from __future__ import annotations

from faults import bad_input as bad
from faults import (
    bombs,
    disks,
    kernels,
    killed,
    length,
    load,
    memory,
    odd_values,
    pages,
    processes,
    reproducible,
    saved_files,
    security,
    stopped,
    sweeps,
)
from faults.attempts import Row

SENTENCE = "exit code 2 and one sentence before weights load, or a video that plays; no hang, at most 2 GiB"
REFUSED = "it opens, or InputError in one sentence; no other exception"


def bad_row(name: str, promise: str, work: bad.Try, kinds: tuple[str, ...], count: int) -> Row:
    return Row(name, "Bad input", promise, bad.attempts_of(name, work, kinds), count)


ROWS = (
    bad_row("damaged-sound", f"wav, flac, mp3, ogg, m4a, mp4 with damaged bytes: {SENTENCE}", bad.try_media,
            tuple(saved_files.SOUNDS), 600),
    bad_row("damaged-picture", f"png, jpeg, webp, gif with damaged bytes: {SENTENCE}", bad.try_media,
            tuple(saved_files.PICTURES), 400),
    bad_row("damaged-folder", f"saved traces, runs, memory records, adapters, weights, sweeps: {REFUSED}",
            bad.try_folder, saved_files.FOLDERS, 420),
    bad_row("other-json", f"saved JSON with a value of another type: {REFUSED}", bad.try_json,
            ("trace", "manifest", "sweep", "timeline", "recorded run"), 300),
    bad_row("inspected-video", "a damaged mp4 is inspected, or refused in one sentence", bad.try_inspection,
            ("mp4",), 60),
    bad_row("settings", "drawn by hypothesis: InputError in one sentence, or a complete video", odd_values.try_settings,
            ("settings",), 300),
    bad_row("names", "HTML, control characters and path tricks in names and prompts are shown as text",
            odd_values.try_name, ("name",), 200),
    bad_row("bombs", f"small files that unpack to huge ones: {SENTENCE}", bombs.try_bomb, tuple(bombs.BOMBS),
            len(bombs.BOMBS)),
    Row("killed", "Killed", "kill -9 at any moment of `generate --run_dir` with mini: no half file under its final "
        "name; gone on with, pictures, sound and latents equal the uninterrupted ones",
        killed.killed_runs(killed.with_mini), 100),
    Row("killed-toy", "Killed", "the same with the toy network, whose life is mostly the writing of files",
        killed.killed_runs(killed.with_toy), 100),
    Row("killed-sweep", "Killed", "kill -9 of a sweep of 8 cells with 2 jobs: run again, its table and videos equal "
        "the uninterrupted ones", sweeps.killed_sweeps, 20),
    Row("damaged-run", "Killed", "a run folder with one file truncated, zeroed or one bit flipped anywhere: gone on "
        "with correctly, or refused in one sentence", killed.damaged_runs, 500),
    Row("damaged-cell", "Killed", "the same for a finished sweep: what is damaged is made again",
        sweeps.damaged_cells, 200),
    Row("two-sweeps", "Load", "two sweeps on one folder at once: both end, one table, nothing left over",
        sweeps.two_sweeps, 10),
    Row("full-disk", "Disk and memory", "a disk too small (tmpfs, needs root): one sentence, no half file; with more "
        "space it is gone on with to the same video", disks.in_worker(disks.try_full_disk), 50),
    Row("limits", "Disk and memory", "few open files or small files allowed (ulimit): the same",
        disks.in_worker(disks.try_limit), 50),
    Row("folder-gone", "Disk and memory", "the run folder or the output's folder vanishes: one sentence",
        disks.in_worker(disks.try_folder_gone), 20),
    Row("read-only", "Disk and memory", "the folder of the output, run, inputs, sweep or temporary files cannot be "
        "written (a read-only mount, needs root): one sentence, or the same video",
        disks.in_worker(disks.try_read_only), 30),
    Row("out-of-memory", "Disk and memory", "an allocation fails at any stage, on the command line, in a Run or in "
        "`render`: one sentence, nothing kept by the error, memory within 2 % of before, the next run correct",
        memory.out_of_memory, 160),
    Row("memory-limit", "Disk and memory", "little memory allowed (ulimit -v): one sentence or the video, in a process "
        "that lives on; without the limit the same video", disks.in_worker(memory.try_memory_limit), 50),
    Row("stopped", "Stop", "Ctrl-C, SIGTERM or SIGHUP at any moment of `generate` with mini: ends within 10 s with the "
        "signal's exit code, leaves a video that plays or nothing", stopped.stopped_runs, 100),
    Row("killed-rank", "Several processes", "TPP, 2 to 4 ranks, one killed at any moment after all have met: every "
        "other rank ends within 10 s with one sentence that names it", processes.killed_ranks, 100),
    Row("frozen-rank", "Several processes", "the same with a rank that is frozen (SIGSTOP); woken again, it ends "
        "within 10 s, too", processes.frozen_ranks, 50),
    Row("unequal-ranks", "Several processes", "one rank has another version, torch, seed, prompt, sound or weights: "
        "every rank ends within 10 s with one sentence that names it", processes.unequal_ranks, 36),
    Row("killed-kernel", "Killed", "kill -9 of a Jupyter kernel at any moment of a Run of mini: gone on with, the same "
        "pictures, sound, latents and steps", kernels.killed_kernels, 100),
    Row("interrupted-kernel", "Stop", "a kernel is interrupted at any moment of a Run, in a cell or between cells: it "
        "ends within 10 s, leaves a video that plays or nothing, and the kernel answers", kernels.interrupted_kernels,
        100),
    Row("restarted-kernel", "Stop", "a kernel is restarted at any moment of a Run: no process left; gone on with, the "
        "same video", kernels.restarted_kernels, 50),
    Row("reloaded-page", "Stop", "the page of the workbench is reloaded at any moment of a run (Chromium): the run "
        "goes on, and the page shows its end", pages.reloaded_pages, 50),
    Row("closed-page", "Stop", "the tab of the workbench is closed at any moment of a run and the notebook is opened "
        "in a new one: the run goes on, and the page shows its end", pages.closed_pages, 50),
    Row("runs-in-one-kernel", "Load", f"{load.RUNS} runs in one process (finished, stopped, failed, rendered, of a "
        "workbench): memory within 2 %, no thread or file left over", load.runs_in_one_kernel,
        len(load.KINDS), measured=True),
    Row("four-workbenches", "Load", "4 workbenches in one kernel, 5 videos each at once: latents of every step are "
        "those of each alone", load.four_workbenches, 10, measured=True),
    Row("four-kernels", "Load", "4 kernels make videos with mini at once: they are those of each alone",
        kernels.four_kernels, 10, measured=True),
    Row("length", "Length", "600 s against 60 s with mini at 64*64 or 256*256, 1 step: the usual memory (median "
        "after a block) within 5 %", length.long_videos, 3, measured=True),
    Row("hours", "Length", f"10,000 s with mini at {length.LONGEST[1]}, 1 step: memory of the last minute within 2 % "
        "of the second, blocks take as much processor time at the end (5 %), sound and pictures within 5 ms",
        length.hours, 1, measured=True),
    Row("day", "Length", "one second of a recording of 24 hours (wav, flac), anywhere in it: within 5 s, without "
        "reading it whole", length.days, 20, measured=True),
    Row("same-latents", "Reproducible", "mini with 1, 2 and 4 threads, a process each, and stopped and resumed with "
        "another number of threads: the same bits", reproducible.same_latents, 30),
    Row("server", "Security", "`liveavatar lab`: bound to loopback, nothing without its token", security.servers, 3),
    Row("no-paths", "Security", "videos, reports and other saved files hold no folder, user or machine name",
        security.saved_files, 40),
    Row("code", "Security", "no pickle, eval, exec, shell or torch.load without weights_only in any file of the "
        "package", security.sources, 1),
)
