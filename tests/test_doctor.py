"""`liveavatar doctor`: what it finds, what it says, how it ends."""

import json
import sys
import webbrowser
from types import SimpleNamespace

import psutil
import pytest
import torch

from liveavatar import cli, doctor, speech
from liveavatar.doctor import NOTE, OK, WRONG, Finding


def with_checks(monkeypatch, *checks) -> None:
    monkeypatch.setattr(doctor, "CHECKS", checks)


def fine() -> Finding:
    return Finding("fine", OK, "as it should be", values={"number": 1})


def slow() -> Finding:
    return Finding("slow", NOTE, "slower than it could be", "wait")


def check_broken() -> Finding:
    raise ImportError("libsomething.so: cannot open shared object file")


def test_notes_are_no_faults_and_a_fault_ends_with_1(monkeypatch, capsys):
    with_checks(monkeypatch, fine, slow)
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "ok    fine      as it should be" in said and "-> wait" in said and "Nothing is wrong." in said
    with_checks(monkeypatch, check_broken, fine)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "wrong broken    ImportError: libsomething.so" in said and "-> install again" in said
    assert said.strip().endswith("1 wrong: broken; see the lines with ->") and "fine" in said     # the others too


def test_programs_get_the_same_as_json(monkeypatch, capsys):
    with_checks(monkeypatch, fine, check_broken)
    assert cli.main(["doctor", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False and [one["state"] for one in said["findings"]] == [OK, WRONG]
    assert said["findings"][0]["values"] == {"number": 1}


def test_this_machine_is_looked_at(monkeypatch, capsys, tmp_path):
    """All checks for once, and not one of them fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "BLOCKS", 2)
    assert cli.main(["doctor", "--json"]) == 0
    findings = {one["topic"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert list(findings) == [check.__name__.removeprefix("check_") for check in doctor.CHECKS]
    assert findings["libraries"]["values"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert findings["speed"]["values"]["block_ms"] > 0 and findings["memory"]["values"]["needed"] > 100 * 2**20
    assert findings["threads"]["values"]["threads"] <= findings["threads"]["values"]["cores"]


@pytest.mark.parametrize(("version", "state"), [((3, 10, 9), WRONG), ((3, 11, 0), OK), ((3, 13, 5), OK),
                                                ((3, 15, 0), NOTE)])
def test_pythons_that_fit(monkeypatch, version, state):
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor.check_python().state == state


def test_a_library_that_is_missing_or_too_old_is_named(monkeypatch):
    needed = ["torch==2.13.0", "av>=18", "numpy>=2.2,<3", 'pytest>=9; extra == "test"']
    installed = {"torch": "2.12.0+cu130", "numpy": "2.4.0"}

    def version(name):
        if name not in installed:
            raise doctor.metadata.PackageNotFoundError
        return installed[name]

    monkeypatch.setattr(doctor.metadata, "requires", lambda name: needed)
    monkeypatch.setattr(doctor.metadata, "version", version)
    finding = doctor.check_libraries()
    assert finding.state == WRONG and finding.found == "torch is 2.12.0+cu130, needed is ==2.13.0; av is missing"
    installed |= {"torch": "2.13.0+cpu", "av": "18.1.0"}
    assert doctor.check_libraries().state == OK


def test_a_gpu_that_is_not_used_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "nvidia_cards", lambda: ["NVIDIA H200"])
    finding = doctor.check_torch()
    assert finding.state == NOTE and "NVIDIA H200" in finding.found and "wan-s2v-14b" in finding.remedy
    monkeypatch.setattr(doctor, "nvidia_cards", list)
    assert doctor.check_torch().state == OK


def test_no_room_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 * 2**20))
    assert doctor.check_disk().state == WRONG and "10 MiB left" in doctor.check_disk().found
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2**30, available=2**20))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: SimpleNamespace(rss=200 * 2**20))
    assert doctor.check_memory().state == WRONG


def test_what_only_extras_need_is_a_note(monkeypatch):
    def no_browser():
        raise webbrowser.Error

    monkeypatch.setattr(speech, "available_voices", lambda: ())
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(webbrowser, "get", no_browser)
    for check, words in ((doctor.check_voices, "--text cannot be used"), (doctor.check_compiler, "--compile"),
                         (doctor.check_browser, "none here")):
        finding = check()
        assert finding.state == NOTE and words in finding.found and finding.remedy
