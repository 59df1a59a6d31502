"""Exercises of the teaching notebooks: a question, an answer that is computed, two hints, and a learner's progress.

    from liveavatar.lessons import check, progress

    answer = ...                                # three dots: not answered yet
    check("third-step-starts", answer)          # right, or a hint
    progress()                                  # which exercises are solved

`exercises` lists them, `answers` judges what was computed, `records` keeps the progress in a file of the user.
"""

from liveavatar.lessons.checking import Outcome, check
from liveavatar.lessons.exercises import EXERCISES
from liveavatar.lessons.overview import Progress, progress
from liveavatar.lessons.records import progress_file, reset_progress

__all__ = ["EXERCISES", "Outcome", "Progress", "check", "progress", "progress_file", "reset_progress"]
