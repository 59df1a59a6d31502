"""The Workbench, as a new user meets it: the notebook is opened, Run is clicked, and everything moves."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "00_workbench.ipynb"
STATE = "() => document.querySelector('.la-bench-state').textContent"
PICTURE = """() => {
    const canvas = document.querySelector('.la-designer-picture'), {width, height} = canvas;
    const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + data[i + 1]) % 1000003;
    return sum;
}"""
SOUND = """async () => {
    const video = document.createElement('video');
    video.src = 'data:video/mp4;base64,' + globalThis.theVideo;
    document.body.append(video);
    await video.play();
    for (let i = 0; i < 1000 && !(video.webkitAudioDecodedByteCount > 0 && video.currentTime > 0.1); i++)
        await new Promise((done) => setTimeout(done, 100));
    const seen = [video.webkitAudioDecodedByteCount > 0, video.getVideoPlaybackQuality().totalVideoFrames > 0];
    video.remove();
    return seen;
}"""


@pytest.fixture(scope="module")
def book(open_notebook):
    """The first cells of the notebook, up to the one that shows the page; a shorter video than there."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    first = "".join(cells[0]["source"])
    assert "Workbench(" in first
    book = open_notebook(first)
    book.run("workbench.size, workbench.seconds = '96*96', 1.44")
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 6")
    return book


@pytest.fixture(scope="module")
def played(book):
    """The same, after a click on Run has made a video."""
    book.settle()
    book.record(".la-bench-state")
    book.page.locator(".la-bench .la-bench-buttons .la-main-button").click()
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    assert any("Loading" in words or "running" in words for words in book.recorded())
    return book


def button(book, name: str):
    return book.page.locator(".la-bench-buttons").get_by_role("button", name=name, exact=True)


def test_a_slider_changes_the_picture_and_the_portrait(book):
    book.page.locator(".la-tab[data-page=avatar]").click()
    book.wait_for("() => document.querySelectorAll('.la-designer section').length === 6")
    book.settle()
    before, portrait = book.page.evaluate(PICTURE), book.run("print(workbench.portrait.sha256)")
    slider = book.page.locator(".la-designer input[data-choice=hair_volume]")
    slider.fill("0.17")
    book.wait_for(f"(before) => ({PICTURE})() !== before", before)
    book.wait_for_kernel("abs(workbench.designer.choices.get('hair_volume', 0) - 0.17) < 0.002")
    assert book.run("print(workbench.portrait.sha256)") != portrait


def test_the_prompt_shows_what_was_understood(book):
    book.page.locator(".la-bench textarea[data-trait=prompt]").fill("happy, under a spotlight, juggling")
    book.wait_for("() => [...document.querySelectorAll('.la-chip-on')].map((chip) => chip.textContent).join() "
                  "=== 'moodhappy,lightingspot'")
    book.wait_until(lambda: book.page.locator(".la-chip-off").all_inner_texts() == ["juggling"])


def test_one_click_makes_a_video_while_the_views_move(played):
    assert played.run("print(workbench.video.frames, len(workbench.run.recorded_steps), workbench.error)") == "36 12"
    words = played.page.evaluate(STATE)
    assert "real time" in words and "to the first picture" in words
    assert played.page.locator(".la-bench-page:not([hidden])").count() == 1
    played.wait_for("() => document.querySelector('.la-player-words').textContent.includes('1.44')")


def test_the_cursor_is_one_for_all_views(played):
    played.run("workbench.player.playing = False")
    played.wait_for("() => document.querySelector('.la-bench-player .la').dataset.playing === 'false'")
    played.settle()                                        # the player has told the others where it rests
    played.run("workbench.cursor.time_s = 0.1")
    played.wait_for("() => document.querySelector('.la-grid-title').textContent.includes('block 0')")
    played.wait_for("() => Math.abs(document.querySelector('.la-bench-player .la').dataset.position - 0.1) < 0.05")
    played.settle()
    line = played.page.locator(".la-bench-player .la-line")
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    played.page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    played.wait_for_kernel("workbench.cursor.time_s > 0.9")
    assert played.run("print({view.time_s for name, view in workbench.views.items() if name != 'designer'} "
                      "== {workbench.cursor.time_s}, workbench.grid.chosen[0])") == "True 2"


def test_every_view_opens_without_an_error(played):
    for tab in played.page.locator(".la-tab").all():
        tab.click()
        name = f".la-bench-page-{tab.get_attribute('data-page')}"
        played.wait_for("(name) => document.querySelector(name).clientHeight > 20", name)       # a folder may be empty
        played.settle()
        page = played.page.locator(name)
        assert page.is_visible() and page.locator(".la-error:visible").count() == 0, page.inner_text()
        played.shoot(".la-bench", f"workbench_{tab.get_attribute('data-page')}")


def test_the_video_has_sound_that_a_browser_decodes(played):
    played.page.evaluate("(data) => { globalThis.theVideo = data; }", played.run(
        "import base64; print(base64.b64encode(workbench.video.path.read_bytes()).decode())"))
    assert played.page.evaluate(SOUND) == [True, True]


def test_a_preset_is_one_click(played):
    played.page.locator(".la-pick[data-preset=production]").click()
    played.wait_for_kernel("workbench.size == '' and workbench.clean == 'noisereduce'")
    played.wait_for("() => document.querySelector('.la-bench select[data-trait=clean]').value === 'gate'")
    played.page.locator(".la-pick[data-preset=faster]").click()
    played.wait_for_kernel("workbench.steps == 3 and workbench.path.steps == 3")


def test_a_second_click_is_refused_kindly_and_stop_stops(played):
    played.run("workbench.seconds, workbench.size, workbench.steps = 5.0, '96*96', 32")              # long enough
    button(played, "Run").click()
    played.wait_for_kernel("workbench.run.state == 'running' and len(workbench.run.recorded_steps) > 1")
    button(played, "Run").click()
    error = played.page.locator(".la-bench > .la-error")
    error.wait_for(state="visible")
    assert "One video at a time" in error.inner_text()
    button(played, "Pause").click()
    played.wait_for(f"() => ({STATE})().startsWith('paused')")
    button(played, "Stop").click()
    played.wait_for(f"() => ({STATE})().startsWith('stopped')")
    error.wait_for(state="hidden")
    assert played.run("print(workbench.run.done_s < 4.9, workbench.video.complete)") == "True False"
    played.run("workbench.steps = 3")


def test_an_error_is_a_sentence_and_the_next_video_is_made(played):
    played.run("workbench.sound, workbench.recording, workbench.seconds = 'recording', 'nowhere.wav', 0.96")
    button(played, "Run").click()
    error = played.page.locator(".la-bench > .la-error")
    played.wait_for("() => document.querySelector('.la-bench > .la-error').innerText.includes('nowhere.wav')")
    played.run("workbench.sound = 'sample'")
    button(played, "Step").click()
    played.wait_for(f"() => ({STATE})().startsWith('paused')")
    error.wait_for(state="hidden")
    button(played, "Stop").click()
    played.wait_for(f"() => ({STATE})().startsWith('stopped')")


def test_a_recording_can_be_uploaded(played, tmp_path):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "me.wav", 0.3 * np.sin(np.arange(19_200) / 12), 16_000)
    played.page.locator(".la-bench input[data-upload=sound]").set_input_files(tmp_path / "me.wav")
    played.wait_for_kernel("workbench.sound == 'recording' and abs(workbench.speech.duration_s - 1.2) < 0.01")
    played.wait_for("() => document.querySelector('.la-bench-upload').innerText.includes('me.wav')")


def test_the_microphone_is_recorded_and_a_part_of_it_chosen(played):
    record = played.page.locator(".la-bench .la-pick[data-value=microphone]")
    record.click()
    played.wait_for("() => document.querySelector('.la-record-meter').getAttribute('aria-valuenow') > -50")   # a beep
    played.wait_for("() => /recording, [1-9]/.test(document.querySelector('.la-record-time').textContent)")
    played.shoot(".la-card-sound", "recording")
    played.page.locator(".la-record").get_by_role("button", name="Stop").click()
    played.wait_for_kernel("workbench.sound == 'recording' and 'recording-' in workbench.recording "
                           "and 0.9 < workbench.speech.duration_s")
    assert played.run("print(abs(workbench.speech.wave).max() > 0.01, workbench.seconds)") == "True 0.0"
    played.wait_for("(length) => Math.abs(document.querySelector('.la-wave').getAttribute('aria-valuemax') - length) < "
                    "0.02 && document.querySelector('.la-record').hidden",
                    float(played.run("print(workbench.speech.duration_s)")))
    wave = played.page.locator(".la-bench .la-wave")
    wide = wave.evaluate("(canvas) => canvas.clientWidth")
    wave.drag_to(wave, source_position={"x": 0.25 * wide, "y": 10}, target_position={"x": 0.75 * wide, "y": 10})
    part = "workbench.start_s / workbench.speech.duration_s, workbench.seconds / workbench.speech.duration_s"
    played.wait_for_kernel(f"all(abs(one - wanted) < 0.1 for one, wanted in zip(({part}), (0.25, 0.5)))")
    wave.press("ArrowLeft")
    played.wait_for_kernel("workbench.config.start_s == workbench.start_s < 0.24 * workbench.speech.duration_s")
    played.shoot(".la-card-sound", "recorded")
    played.record(".la-wave-listen")
    played.page.locator(".la-bench .la-wave-listen").click()
    played.wait_for_record("■")
    played.wait_for("() => document.querySelector('.la-wave-listen').textContent === '▶'")     # heard to its end


def test_a_refused_microphone_is_said_in_words(played):
    played.page.evaluate("""() => { navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException('Permission denied', 'NotAllowedError')); }""")
    played.page.locator(".la-bench .la-pick[data-value=microphone]").click()
    words = played.page.locator(".la-record-words")
    words.filter(has_text="does not let this page use the microphone").wait_for(state="visible")
    assert played.page.locator(".la-record button:visible").count() == 0
    played.shoot(".la-card-sound", "refused")
    played.page.evaluate("() => { delete navigator.mediaDevices.getUserMedia; }")


def test_a_saved_run_is_opened_on_the_page(played):
    played.run("import tempfile; folder = tempfile.mkdtemp(); made = workbench.run; made.save(folder + '/kept'); "
               "workbench.gallery.folder = folder")
    played.page.locator(".la-tab[data-page=runs]").click()
    card = played.page.locator(".la-gallery-card", has_text="kept")
    card.wait_for(state="visible")
    played.shoot(".la-bench", "bench-runs")
    card.get_by_role("button", name="Open").click()
    played.wait_for_kernel("workbench.run is not made and not workbench.gallery._doing")
    assert played.run("print(workbench.run.total_s == made.total_s, workbench.gallery.error)") == "True"
