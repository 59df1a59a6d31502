"""The scripts of the page: modules that become one text, one palette, and their own tests where node is there."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import widgets
from liveavatar.web.assembly import AssemblyError, assembled
from liveavatar.web.palette import COLOURS, STEPS
from widgets._live import STATIC

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (STATIC, ROOT / "liveavatar" / "web", ROOT / "liveavatar" / "study" / "static")
SCRIPTS = sorted(path for folder in FOLDERS for path in folder.glob("*.js"))
PAGES = sorted((ROOT / "liveavatar" / "study" / "static").glob("report_*.js"))
NODE = shutil.which("node")


def node_is_new_enough() -> bool:
    """Whether Node.js 18 or newer is there: it brings a runner of tests."""
    if NODE is None:
        return False
    said = subprocess.run([NODE, "--version"], capture_output=True, text=True).stdout
    return bool(found := re.match(r"v(\d+)", said)) and int(found[1]) >= 18


needs_node = pytest.mark.skipif(not node_is_new_enough(), reason="needs Node.js 18 or newer")


def write(folder: Path, **modules: str) -> Path:
    """Write modules by their names, and return the first."""
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(modules))}.js"


@pytest.fixture(scope="module")
def views() -> dict[str, tuple[str, str]]:
    """Every view of ours by the name of its script: what anywidget receives of it."""
    kinds = {getattr(importlib.import_module(f"widgets.{home}"), name) for name, home in widgets._HOME.items()}
    return {kind.script: (kind._esm, kind._css) for kind in kinds if getattr(kind, "script", "")}


# ------------------------------------------------------------------------------------------------- one text

def test_a_module_comes_after_those_that_it_imports_and_keeps_its_names_to_itself(tmp_path):
    entry = write(tmp_path, view='import { wide as width } from "./size.js";\nimport grow from "./grow.js";\n'
                                 'const GAP = 1;\nexport default grow(width) + GAP;\n',
                  size="const GAP = 2;\nexport const wide = GAP;\n",
                  grow='import { wide } from "./size.js";\nconst grow = (x) => x * wide;\nexport default grow;\n')
    (tmp_path / "size.css").write_text(".size {}")
    code, style = assembled(entry)
    assert [line.partition("// ")[2] for line in code.splitlines() if line.startswith("const module")] == [
        "size.js", "grow.js", "view.js"]
    assert code.count("const GAP") == 2 and not re.search(r"^import ", code, re.MULTILINE)
    assert code.endswith("export default module2.default;") and style.endswith(".size {}")


@needs_node
def test_the_text_computes_what_its_modules_compute(tmp_path):
    entry = write(tmp_path, page='import {\n  one, two as second,\n} from "./numbers.js";\n'
                                 "console.log(one + second());\n",
                  numbers="export const one = 1;\nexport function two() { return one + 1; }\n")
    code, _ = assembled(entry)
    assert subprocess.run([NODE, "-e", code], capture_output=True, text=True, check=True).stdout == "3\n"


@pytest.mark.parametrize(("text", "words"), [
    ('import { gone } from "./other.js";', "imports gone from other.js, where it is missing"),
    ('import { x } from "./missing.js";', "imports missing.js, which cannot be read"),
    ('import { x } from "https://example.org/x.js";', "nothing is fetched"),
    ('import d3 from "d3";', "nothing is fetched"),
    ('const a = 1;\nexport { a };', "line 2: 'export { a };' cannot be joined"),
    ('export let a = 1;', "line 1: 'export let a = 1;' cannot be joined"),
    ('import * as all from "./other.js";', "cannot be joined"),
    ('const other = await import("./other.js");', "cannot be joined"),
    ('import { back } from "./circle.js";', "entry.js -> circle.js -> entry.js: modules must not import each other"),
])
def test_what_cannot_be_joined_is_refused_with_its_place(tmp_path, text, words):
    write(tmp_path, other="export const a = 1;", circle='import { x } from "./entry.js";\nexport const back = x;')
    with pytest.raises(AssemblyError, match=re.escape(words)):
        assembled(write(tmp_path, entry=text))


# ------------------------------------------------------------------------------------------------- what browsers get

def test_every_view_is_one_text_that_fetches_nothing(views):
    assert len(views) >= 16
    for script, (code, style) in views.items():
        assert re.search(r"^export default module\d+\.default;\Z", code, re.MULTILINE), script
        assert not re.search(r"\bfetch\(|\bimport\(|^import ", code, re.MULTILINE), script
        assert not re.search(r"url\((?!data:)|@import", style), script
        own = (STATIC / script).with_suffix(".css")
        assert style.startswith(":root { --la-orange") and (not own.is_file() or own.read_text() in style)


def test_every_module_is_part_of_a_view_or_of_a_report(views):
    texts = [code for code, _ in views.values()] + [assembled(page)[0] for page in PAGES]
    joined = {name for text in texts for name in re.findall(r"^const module\d+ = .*// (.*)$", text, re.MULTILINE)}
    assert {path.name for path in SCRIPTS} - joined == set()


# ------------------------------------------------------------------------------------------------- one palette

def test_colours_reach_scripts_and_styles_from_one_place():
    code, style = assembled(STATIC / "cache_view.js")
    for name, colour in COLOURS.items():
        assert f'"{name}": "{colour}"' in code and f"--la-{name}: {colour};" in style
    assert f'const LA_STEPS = ["{STEPS[0]}"' in code


def test_no_colour_of_the_palette_is_written_anywhere_else():
    written = re.compile("|".join(COLOURS.values()), re.IGNORECASE)
    places = [path for folder in ("liveavatar", "widgets", "benchmarks") for kind in ("js", "css", "html", "py")
              for path in (ROOT / folder).rglob(f"*.{kind}") if "uplot" not in path.parts]
    assert [path.relative_to(ROOT).as_posix() for path in places if written.search(path.read_text(encoding="utf-8"))
            ] == ["liveavatar/web/palette.py"]


# ------------------------------------------------------------------------------------------------- how they are written

def test_lines_of_scripts_and_styles_fit():
    paths = [*SCRIPTS, *(path for folder in FOLDERS for path in folder.glob("*.css"))]
    long = [f"{path.name}:{number}" for path in paths
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 120]
    assert long == []


@needs_node
def test_the_scripts_pass_their_own_tests():
    tests = sorted(map(str, (ROOT / "tests" / "js").glob("*.test.js")))
    done = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and re.search(r"pass \d\d", done.stdout), done.stdout + done.stderr
