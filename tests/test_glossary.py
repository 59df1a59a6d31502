"""One glossary: every number on the page has a sentence in it, and no sentence is for nothing."""

import re
from pathlib import Path

import pytest

from liveavatar.glossary import FORMULAS, TERMS, explain, formula_page, formula_sheet
from widgets.step_grid import StepGrid

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "widgets" / "static"
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}
NAMED = re.compile(r'laTerm\("(\w+)"|LA_TERMS\.(\w+)')
LISTED = {   # terms that scripts name in a list
    "step_detail.js": re.compile(r'\["(\w+)", "[\w ]+"\]'), "memory_view.js": re.compile(r': "(\w+_memory)"'),
    "drift_curves.js": re.compile(r'\["(stream_\w+)", "'),
    "step_change.js": re.compile(r'\["\w+", "(\w+)", "\w+"\]')}


def used() -> set[str]:
    found = {name for text in SCRIPTS.values() for pair in NAMED.findall(text) for name in pair if name}
    lists = {name for script, pattern in LISTED.items() for name in pattern.findall(SCRIPTS[script])}
    return found | (lists & set(TERMS))


def test_every_word_that_is_explained_is_in_the_glossary():
    found = {name for text in SCRIPTS.values() for pair in NAMED.findall(text) for name in pair if name}
    assert found - set(TERMS) == set()


def test_what_the_issue_asks_for_is_explained_on_the_page():
    assert {"latent", "sigma", "velocity_norm", "cosine", "kurtosis", "share_of_path", "itu_band", "open_of"} <= used()


@pytest.mark.parametrize("term", sorted(TERMS))
def test_every_entry_is_a_sentence_that_somebody_shows(term):
    sentence = explain(term)
    assert sentence[0].isupper() and sentence.endswith(".") and 30 < len(sentence) < 220
    assert term in used() | {one.term for one in FORMULAS}, f"{term} is shown nowhere"


def test_every_view_carries_the_glossary_and_fetches_nothing_for_it():
    assert explain("kurtosis") in StepGrid._esm and "import " not in StepGrid._esm


def test_the_formula_sheet_has_the_terms_of_the_method_and_where_to_see_them():
    import widgets

    assert [one.term for one in FORMULAS] == ["x", "clean", "velocity", "sigma", "shift", "block", "ring", "sink",
                                              "student", "teacher"]
    for one in FORMULAS:
        text = (ROOT / "notebooks" / f"{one.lesson}.ipynb").read_text(encoding="utf-8")
        assert f"{one.view}(" in text and hasattr(widgets, one.view), f"{one.view} is not in {one.lesson}"
        assert explain(one.term) in str(formula_sheet()) and f"]({one.lesson}.ipynb)" in str(formula_sheet())


def test_the_formula_sheet_of_the_documentation_is_the_same():
    page = (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8")
    assert page == formula_page(), "python -m liveavatar.glossary > docs/formulas.md"
