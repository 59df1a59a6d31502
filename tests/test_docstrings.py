"""Docstrings of functions begin with a verb in the imperative (PEP 257), so that each says what its function does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERBS = frozenset("""
    Adapt Add Advise Allocate Announce Answer Append Apply Ask Attend Average Begin Bend Blend Blur Bridge Bring Build
    Call Carry Change Check Choose Clamp Clean Close Colour Combine Compare Compile Compose Compute Concatenate Continue
    Convert Copy Count Create Crop Cut Darken Decode Delete Denoise Describe Distil Distribute Divide Do Double
    Downsample Draw Drive Drop Edit Embed Encode End Enlarge Enter Estimate Evaluate Exhaust Explain Extract Fade Fill
    Filter Find Finish Fit Flatten Follow Forget Format Frame Free Generate Give Go Group Halve Handle Hide Interpolate
    Join Judge Keep Lay Leave Let Link List Listen Load Look Make Map Mark Mask Match Measure Meet Merge Mirror Mix Move
    Multiply Name Normalise Note Number Open Overwrite Pack Paint Parse Pass Pause Permute Pick Place Play Predict
    Prepare Print Publish Put Quantise Raise React Read Rearrange Record Reduce Refine Refuse Regress Release Remember
    Remove Rename Render Reorder Repeat Replace Report Resample Reset Reshape Restore Return Rotate Round Run Sample
    Save Say Scale Score Search See Select Send Set Share Show Simulate Skip Smooth Solve Sort Speak Split Spread Square
    Stack Start Step Stop Store Stretch Subtract Sum Swing Take Tell Tie Tile Track Train Transform Translate Try Turn
    Undo Unmap Unpack Unsubscribe Update Use Validate View Wait Warm Warn Weigh Wrap Write Yield
    """.split())

QUESTIONS = frozenset("How Of What When Where Whether Which Who Whose Why".split())


def functions_of(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize("package", ["liveavatar", "widgets"])
def test_docstrings_of_classes_begin_with_no_question(package):
    """They name the thing, or begin with a verb."""
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = ast.get_docstring(node) if isinstance(node, ast.ClassDef) else None
            if said and re.split("[^A-Za-z]", said, maxsplit=1)[0] in QUESTIONS:
                wrong.append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno} {node.name}: {said.splitlines()[0]}")
    assert wrong == []


@pytest.mark.parametrize("package", ["liveavatar", "widgets"])
def test_docstrings_begin_with_a_verb(package):
    """A verb that is missing here may be added to VERBS: the bare form, no -s and no -ing."""
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for function in functions_of(path):
            said = ast.get_docstring(function)
            if said and re.split("[^A-Za-z]", said, maxsplit=1)[0] not in VERBS:
                wrong.append(f"{name}:{function.lineno} {function.name}: {said.splitlines()[0]}")
    assert wrong == []
