"""What holds the house together: arrows that point one way, light imports, one list of requirements, a small tree."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20

# Floors of the house: a module may import from its own floor or a lower one, never from a higher one.
# The longest matching name counts.
FLOORS = (
    ("types", "version", "lazy", "files", "checksums", "signals", "wording", "switches", "caught_warnings", "joined",
     "graphs", "glossary", "interrupts", "threads", "thread_policy", "compiling", "warping", "memory_errors", "web",
     ""),                                        # liveavatar itself, the door: it looks its names up when asked
    ("cache", "transformer", "config", "lora", "weights", "sampler",
     "avatars", "puppets", "faces", "speech", "sound", "soundtrack", "audio", "voice", "voice_activity", "phonemes",
     "pictures", "conditions", "decoder", "video", "strength", "flow2d"),
    ("backends",),
    ("pipeline", "streaming", "progress", "inputs", "rollout", "runfolder", "trace", "parallel"),
    ("metrics", "inspection", "vram", "run", "preview", "step_frames", "export", "interop", "runs",
     "inspect"),
    ("study",),
    ("cli", "demo", "doctor", "workshop", "lessons", "__main__"),
    ("training",),
)
OUTSIDE = ("widgets", "notebooks", "benchmarks", "tests")          # they import liveavatar; never the other way round


# ------------------------------------------------------------------------------------------------- arrows

@cache
def modules() -> dict[str, Path]:
    """Every module of liveavatar and widgets by its dotted name."""
    named = {}
    for package in ("liveavatar", "widgets"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(tree: ast.AST):
    """Every import of a file, those inside functions too; not those that only type checkers read."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif only_for_types(child):
            for other in child.orelse:
                yield from statements(other)
        else:
            yield from statements(child)


def imported_names(name: str, path: Path):
    """Dotted names that the module imports, as written out in full."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = package[:len(package) - node.level + 1] if node.level else []
            origin = ".".join(base + (node.module.split(".") if node.module else []))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def owner_of(dotted: str) -> str | None:
    """The module of ours that holds this name, or None when it is somebody else's."""
    while dotted and dotted not in modules():
        dotted = dotted.rpartition(".")[0]
    return dotted or None


@cache
def arrows() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports."""
    graph = {}
    for name, path in modules().items():
        owners = {owner_of(dotted) for dotted in imported_names(name, path)}
        graph[name] = owners - {None, name}
    return graph


def floor_of(module: str) -> int:
    inside = module.removeprefix("liveavatar").removeprefix(".")
    found = [(len(name), floor) for floor, names in enumerate(FLOORS) for name in names
             if inside == name or (name and inside.startswith(name + "."))]
    assert found, f"{module} has no place in the house yet: name it in FLOORS"
    return max(found)[1]


def test_every_arrow_points_down_or_along():
    upward = [f"{module} -> {other}" for module, others in arrows().items() for other in others
              if module.startswith("liveavatar") and other.startswith("liveavatar")
              and floor_of(other) > floor_of(module)]
    assert upward == []


def test_nothing_inside_imports_what_stands_outside():
    outward = [f"{name} -> {dotted}" for name, path in modules().items() if name.startswith("liveavatar")
               for dotted in imported_names(name, path) if dotted.split(".")[0] in OUTSIDE]
    assert outward == []


def test_only_training_imports_training():
    users = [name for name, others in arrows().items() for other in others
             if other.startswith("liveavatar.training") and not name.startswith("liveavatar.training")]
    assert users == []


def test_imports_have_no_circles():
    try:
        tuple(TopologicalSorter(arrows()).static_order())
    except CycleError as error:
        pytest.fail("imports in a circle: " + " <- ".join(error.args[1]))


# ------------------------------------------------------------------------------------------------- lightness

def test_the_door_opens_without_waking_the_heavy_libraries():
    script = "import sys, liveavatar; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "scipy", "diffusers", "transformers", "librosa", "matplotlib", "av", "PIL", "IPython"}
    assert set(run.stdout.split()) & heavy == set()


def test_heavy_libraries_are_imported_where_they_are_used():
    """Not at the top of a module: whoever needs only one stage should not wait for the others."""
    lazy = {"librosa", "transformers", "av", "noisereduce", "matplotlib", "scipy", "papermill", "IPython"}
    eager = []
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0):
                origins = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                eager += [f"{name} imports {origin}" for origin in origins if origin.split(".")[0] in lazy]
    assert [line for line in eager if not line.startswith("widgets")] == []


# ------------------------------------------------------------------------------------------------- requirements

def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirement_name(line: str) -> str:
    return re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0].lower().replace("_", "-")


def everything_required() -> list[str]:
    extras = project()["optional-dependencies"]
    return project()["dependencies"] + [line for lines in extras.values() for line in lines]


def conda_pip_list() -> list[str]:
    """The lines below `- pip:`, without comments; one requirement a line, so no YAML reader is needed."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    below = text.split("- pip:\n")[1].splitlines()
    return [line.split("#")[0].strip().removeprefix("- ") for line in below if line.strip().startswith("- ")]


def test_conda_brings_python_and_pip_and_nothing_else():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert re.findall(r"^  - (\S+)", text.split("dependencies:")[1], re.MULTILINE) == ["python=3.11", "pip", "pip:"]


def test_conda_and_pip_ask_for_the_same():
    listed = conda_pip_list()
    assert listed.pop() == "--editable .[speech]"
    extras = project()["optional-dependencies"]
    assert listed == project()["dependencies"] + extras["test"] and set(extras["wan"]) < set(extras["test"])


def test_torch_is_pinned_and_nothing_pulls_in_another_build():
    names = {requirement_name(line) for line in everything_required()}
    assert "torch==2.13.0" in project()["dependencies"]
    assert not names & {"torchvision", "torchaudio", "triton", "xformers", "flash-attn", "pynvml"}
    assert not [name for name in names if name.startswith("nvidia-c")]


def test_every_constraint_allows_what_is_required():
    from packaging.requirements import Requirement
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for line in everything_required():
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[requirement.name]), f"{line} against {pins[requirement.name]}"


def test_everything_imported_is_declared():
    provides = {"nvidia-ml-py": "pynvml", "pillow": "PIL"}
    declared = {provides.get(name, name).replace("-", "_")
                for name in map(requirement_name, everything_required())}
    declared |= {"IPython", "traitlets", "jupyter_client"}         # all come with ipykernel
    declared |= {"triton"}                                         # comes with torch for NVIDIA GPUs, and only there
    ours = {"liveavatar", "widgets"}
    used = {(dotted.split(".")[0], name) for name, path in modules().items() for dotted in imported_names(name, path)}
    assert [pair for pair in sorted(used) if pair[0] not in declared | ours | set(sys.stdlib_module_names)] == []


# ------------------------------------------------------------------------------------------------- size

@cache
def tracked() -> tuple[Path, ...]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout: there is no list of files to weigh")
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def test_weights_fit_in_the_repository():
    sizes = {path: path.stat().st_size for path in tracked() if path.suffix == ".safetensors"}
    assert {path.name: size for path, size in sizes.items() if size > 16 * MIB} == {}
    assert sum(size for path, size in sizes.items() if path.is_relative_to(ROOT / "liveavatar")) <= 40 * MIB


def test_the_tree_stays_small():
    assert sum(path.stat().st_size for path in tracked()) < 50 * MIB


def test_weights_are_never_pickled():
    assert [path.name for path in tracked() if path.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"}] == []


# ------------------------------------------------------------------------------------------------- length

LONGEST_FILE, LONGEST_FUNCTION = 400, 60        # lines; what is longer is split by meaning
LONGER = {                                      # path -> why
    "liveavatar/transformer.py": "the released network in one piece, to be read beside the article",
}


def test_files_and_functions_stay_short():
    long = []
    for path in (path for path in tracked() if path.suffix == ".py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        if len(text.splitlines()) > LONGEST_FILE and name not in LONGER:
            long.append(name)
        long += [f"{name}: {node.name}" for node in ast.walk(ast.parse(text))
                 if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= LONGEST_FUNCTION]
    assert long == []
