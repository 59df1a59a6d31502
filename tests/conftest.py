"""One thread of torch for every test process, as `make test` has it: toy sizes are no faster with more, and sums of odd
shapes depend on the count. Set before torch is loaded. Every test begins with the same dice: what a test draws does not
depend on the tests before it, which differ from run to run with xdist.

With xdist, files go to the workers with the slow ones first, and all browser tests to one worker: they share a page.
"""

import os
import random
import sys
from pathlib import PurePosixPath

import pytest
from prepared import prepare_kernels

os.environ.setdefault("OMP_NUM_THREADS", "1")

BROWSER, PLANS = "tests/browser", "plans of the 14B model"
PLANNED = ("tests/test_vram_oom.py", "tests/test_vram_plan.py", "tests/test_wan_nf4.py", "tests/test_wan_order.py",
           "tests/test_widgets_planner.py")                    # a plan is made once in a process, in several seconds
SLOW = (BROWSER, PLANS, "notebooks/01_first_words.ipynb", "notebooks/10_change_one_step.ipynb",
        "tests/test_inspection.py", "notebooks/16_real_model.ipynb", "tests/test_training_vae.py",
        "tests/test_study_report.py", "notebooks/08_streaming.ipynb", "tests/test_wan_backend.py",
        "tests/test_training_distill.py", "tests/test_wan_benchmarks.py", "tests/test_wan_precision.py",
        "tests/test_parallel.py", "tests/test_lessons.py", "tests/test_faces.py", "tests/test_widgets_lips.py")


def work_of(nodeid: str) -> str:
    """Name what one worker does in one go: the tests of a file, or of all files that need the browser or plans."""
    path = nodeid.split("::", 1)[0]
    return BROWSER if PurePosixPath(path).is_relative_to(BROWSER) else PLANS if path in PLANNED else path


def place_of(nodeid: str) -> int:
    """Say when a test is begun: the slow ones first, then notebooks, then the others."""
    work = work_of(nodeid)
    return SLOW.index(work) if work in SLOW else len(SLOW) + (not work.endswith(".ipynb"))


def pytest_configure() -> None:
    prepare_kernels()


def pytest_collection_modifyitems(items: list) -> None:
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed all dice, before any fixture is made."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return work_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)
