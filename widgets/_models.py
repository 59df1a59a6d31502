"""Models that all workbenches of a kernel share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline


def load_model(backend: str, model: str = "student") -> Pipeline:
    """Load a model, once for all workbenches."""
    from liveavatar.pipeline import load

    with _loading:
        if (backend, model) not in _loaded:
            _loaded[backend, model] = load(backend) if model == "student" else load(backend, student=False)
        return _loaded[backend, model]


def model_of(pipeline: Pipeline) -> str:
    """Return "student", or "teacher": the many-step base."""
    return "student" if pipeline.backend.about().get("student", True) else "teacher"


_loading = threading.Lock()                             # whoever comes second waits for the first
_loaded: dict[tuple[str, str], Pipeline] = {}
