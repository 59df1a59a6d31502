"""One glossary: every number on the page has a sentence in it, and no sentence is for nothing."""

import re
from pathlib import Path

import pytest

from liveavatar.glossary import TERMS, explain
from widgets._assets import assemble

STATIC = Path(__file__).parents[1] / "widgets" / "static"
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}
NAMED = re.compile(r'laTerm\("(\w+)"|LA_TERMS\.(\w+)')
LISTED = {   # terms that scripts name in a list
    "step_detail.js": re.compile(r'\["(\w+)", "[\w ]+"\]'), "memory_view.js": re.compile(r': "(\w+_memory)"'),
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
    assert term in used(), f"{term} is shown nowhere"


def test_every_view_carries_the_glossary_and_fetches_nothing_for_it():
    code, _ = assemble("step_grid.js", ("compare",))
    assert explain("kurtosis") in code and "export function" not in code
