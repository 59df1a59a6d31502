"""The end of work that goes on in a thread of its own, before Python ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from widgets._render_loop import stop_before_exit

if TYPE_CHECKING:
    from liveavatar.study.background import BackgroundWork


class StudyEnd:
    """The end of a study before Python ends. Whoever starts the study keeps it: workers are known by weak references.
    """

    def __init__(self, study: BackgroundWork) -> None:
        """See to it that this study is stopped."""
        self._study = study
        stop_before_exit(self)

    def stop(self) -> None:
        """Stop the study, and wait until it has."""
        self._study.stop()
        self._study.wait_for_thread()
