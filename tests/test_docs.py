"""The site of the API and the documents: no link of theirs leads nowhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "widgets" / "README.md"]


@pytest.fixture(scope="module")
def build_api():
    spec = importlib.util.spec_from_file_location("build_api", ROOT / "docs" / "build_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_is_built_without_a_network_and_its_links_lead_somewhere(build_api, tmp_path):
    names = [f"liveavatar.{name}" for name in ("types", "cache", "sampler", "rollout", "__main__")]
    assert build_api.build(tmp_path, names) == names[:-1]
    assert build_api.broken_links(tmp_path) == []
    page = (tmp_path / "liveavatar" / "sampler.html").read_text(encoding="utf-8")
    assert 'id="denoise_block"' in page and "types.html#Step" in page
    assert not re.search(r'(?:src=|<link[^>]*href=)"https?:', page)


def test_links_that_lead_nowhere_are_named(build_api, tmp_path):
    (tmp_path / "a.html").write_text('<p id="here"><a href="#here"></a><a href="#gone"></a><a href="b.html#x"></a>')
    (tmp_path / "b.html").write_text('<a href="a.html#here"></a><a href="c.html"></a><a href="https://example.org"></a>')
    assert build_api.broken_links(tmp_path) == ["a.html -> #gone", "a.html -> b.html#x", "b.html -> c.html"]


def test_every_module_of_ours_has_a_page(build_api):
    names = set(build_api.names_of_modules())
    files = {path.relative_to(ROOT) for package in build_api.PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert names == {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_to_files(document):
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    gone = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert gone == []
