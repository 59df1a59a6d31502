"""`liveavatar workshop`: what it says about a machine, and the folder that it makes for participants."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from liveavatar import cli, demo, doctor, workshop
from liveavatar.doctor import NOTE, OK, WRONG, Finding
from liveavatar.types import InputError
from liveavatar.workshop import closure, install_pack, machine, pack


def finding(topic: str, state: str = OK, **values: object) -> Finding:
    return Finding(topic, state, "as it is", "do something" if state != OK else "", values)


# ------------------------------------------------------------------------------------------- this machine

@pytest.mark.parametrize(("found", "ready", "words"), [
    ([finding("python"), finding("speed", x_realtime=1.2)], True, "Ready"),
    ([finding("speed", NOTE, x_realtime=0.2)], True, "0.20 times real time"),
    ([finding("sound", NOTE), finding("speed", x_realtime=1.2)], True, "no obstacle: sound"),
    ([finding("disk", WRONG), finding("speed", x_realtime=1.2)], False, "Not ready: disk")])
def test_the_verdict_says_what_to_do(found, ready, words):
    said, advice = machine.verdict(found)
    assert said is ready and words in " ".join(advice)
    assert ("liveavatar lab" in advice[-1]) is ready


def test_the_command_ends_with_1_where_somebody_cannot_take_part(monkeypatch, capsys):
    monkeypatch.setattr(machine, "CHECKS", (lambda: finding("disk", WRONG),))
    assert cli.main(["workshop"]) == 1 and "Not ready: disk" in capsys.readouterr().out
    monkeypatch.setattr(machine, "CHECKS", (lambda: finding("disk"),))
    assert cli.main(["workshop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ready"] is True


def test_what_the_issue_names_is_looked_at():
    names = {check.__name__.removeprefix("check_") for check in machine.CHECKS}
    assert {"python", "libraries", "speed", "browser", "sound", "disk", "notebooks"} <= names


def test_a_machine_without_a_sound_card_is_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(machine, "SOUND_CARDS", tmp_path / "cards")
    assert machine.check_sound().state == NOTE
    (tmp_path / "cards").write_text(" 0 [PCH ]: HDA-Intel\n")
    assert machine.check_sound().state == OK


def test_other_browsers_count(monkeypatch):
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor, "check_browser", lambda: finding("browser", NOTE))
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "firefox" else None)
    assert machine.check_browser().state == OK
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.check_browser().state == NOTE


def test_lessons_and_a_kernel_are_found():
    found = machine.check_notebooks()
    assert found.state == OK and "03_four_steps" in found.values["notebooks"]


def test_what_some_lessons_need_beyond_the_rest_is_a_note(monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert machine.check_notebooks().state == NOTE and "liveavatar[wan]" in machine.check_notebooks().remedy


# ------------------------------------------------------------------------------------------- the pack

def stub(arguments, wheels: Path) -> None:
    """Stand in for pip: an empty wheel for each requirement, and one for the project."""
    for one in arguments:
        if "==" in one:
            (wheels / f"{one.replace('==', '-')}-py3-none-any.whl").write_bytes(one.encode())
        elif Path(one).is_dir():
            assert (Path(one) / "pyproject.toml").is_file() and not list(Path(one).glob("build"))
            (wheels / "liveavatar-0-py3-none-any.whl").write_bytes(b"ours")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return workshop.make_pack(tmp_path_factory.mktemp("packs") / "pack", collect=stub, say=lambda _: None)


def install(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-I", str(folder / "install.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_pack_has_all_that_is_needed(made):
    about = json.loads((made / "pack.json").read_text(encoding="utf-8"))
    lessons = {path.name for path in demo.NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
    assert {path.name for path in (made / "notebooks").rglob("*.ipynb")} == lessons
    assert (made / "notebooks/solutions/03_four_steps.py").is_file() and (made / "docs").is_dir()
    assert set(about["wheels"]) == {path.name for path in (made / "wheels").iterdir()}
    assert about["libraries"]["torch"].startswith("2.13.0") and "jupyterlab" in about["libraries"]
    assert about["install"].startswith("liveavatar[wan]==") and "transformers" in about["libraries"]
    assert not {"liveavatar", "pytest", "espeakng-loader"} & set(about["libraries"])
    assert about["python"] in (made / "README.txt").read_text(encoding="utf-8")
    assert not list(made.parent.glob(".*part")) and not (made / "source").exists()


def test_it_says_nothing_of_where_it_was_made(made):
    for name in ("pack.json", "README.txt", "install.py"):
        assert str(Path.home()) not in (made / name).read_text(encoding="utf-8")
        assert str(demo.NOTEBOOKS.parent) not in (made / name).read_text(encoding="utf-8")


def test_installing_looks_first_whether_the_pack_is_whole(made):
    assert install(made, "--check").stdout.startswith("whole:")
    wheel = next((made / "wheels").glob("numpy-*"))
    kept = wheel.read_bytes()
    wheel.write_bytes(b"changed")
    told = install(made, "--check")
    assert told.returncode == 1 and f"{wheel.name} is damaged" in told.stderr
    wheel.write_bytes(kept)
    (made / "pack.json").rename(made / "elsewhere")
    told = install(made, "--check")
    assert told.returncode == 1 and told.stderr.startswith("install.py: pack.json is missing or damaged")
    (made / "elsewhere").rename(made / "pack.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"python": 3', None])
def test_a_pack_without_its_list_is_refused_in_a_sentence(made, tmp_path, text):
    (tmp_path / "install.py").write_bytes((made / "install.py").read_bytes())
    if text is not None:
        (tmp_path / "pack.json").write_text(text)
    told = install(tmp_path)
    assert told.returncode == 1 and "pack.json is missing or damaged" in told.stderr and "Traceback" not in told.stderr


def test_an_environment_that_cannot_be_made_is_one_sentence(made, tmp_path):
    (tmp_path / "file").write_text("")
    told = install(made, str(tmp_path / "file"))
    assert told.returncode == 1 and "cannot be made" in told.stderr and "Traceback" not in told.stderr


@pytest.mark.parametrize(("change", "words"), [
    ({"python": "3.9"}, "this folder is for Python 3.9"), ({"platform": "win-arm64"}, "this folder is for win-arm64"),
    ({"wheels": {"gone.whl": ""}}, "gone.whl is missing")])
def test_a_pack_for_another_machine_is_refused_in_a_sentence(made, change, words):
    about = json.loads((made / "pack.json").read_text(encoding="utf-8"))
    assert words in install_pack.fault_of(about | change)


def test_lessons_of_a_pack_are_opened_from_its_folder(monkeypatch, made, tmp_path):
    monkeypatch.setattr(demo, "NOTEBOOKS", tmp_path / "site-packages" / "notebooks")
    monkeypatch.chdir(made)
    assert demo.notebooks_folder() == made / "notebooks"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="workshop's folder"):
        demo.notebooks_folder()


def test_nothing_is_left_where_wheels_cannot_be_collected(monkeypatch, tmp_path):
    failed = SimpleNamespace(returncode=1, stderr="WARNING: slow\nERROR: No matching distribution found for torch\n")
    monkeypatch.setattr(pack.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match="No matching distribution found for torch"):
        workshop.make_pack(tmp_path / "pack", say=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "mine").write_text("kept")
    assert cli.main(["workshop", "--pack", str(tmp_path)]) == 2 and "is not empty" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "kept"
    assert cli.main(["workshop", "--pack", str(tmp_path / "new"), "--json"]) == 2


@pytest.mark.parametrize("name", [".", "../here"])
def test_the_folder_one_is_in_is_not_replaced(monkeypatch, tmp_path, capsys, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main(["workshop", "--pack", name]) == 2 and "is the current folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
def test_a_current_folder_that_is_gone_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert cli.main(["lab"]) == 2 and "the current folder was removed" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "index"), [("2.13.0+cpu", "/cpu"), ("2.13.0+cu130", "/cu130"), ("2.13.0", "")])
def test_builds_of_torch_that_pypi_has_not_come_from_their_own_index(version, index):
    options = pack.index_of({"torch": version})
    assert options == ([] if not index else ["--extra-index-url", pack.TORCH_INDEX + index])


def test_what_is_needed_is_followed_to_its_end(monkeypatch):
    needs = {"liveavatar": ["One[extra]>=1", 'pytest; extra == "test"', 'never; python_version < "3"'],
             "one": ['two; extra == "extra"', 'not-this; extra == "other"'], "two": ["one", "three.four"]}
    monkeypatch.setattr(closure.metadata, "requires", lambda name: needs.get(name))
    monkeypatch.setattr(closure.metadata, "version", lambda name: "1.0")
    assert list(closure.needed_versions()) == ["one", "three-four", "two"]
    assert list(closure.needed_versions("liveavatar", ["test"])) == ["one", "pytest", "three-four", "two"]


def test_what_is_needed_and_missing_is_said(monkeypatch):
    def missing(name):
        raise closure.metadata.PackageNotFoundError

    monkeypatch.setattr(closure.metadata, "version", missing)
    with pytest.raises(InputError, match="pip install liveavatar"):
        closure.needed_versions()
