"""Any picture comes in upright and in colour or is refused by name; words become slots or are reported."""

import hashlib
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from liveavatar import conditions
from liveavatar.avatars.motion import CONTROLS
from liveavatar.conditions import (
    controls_vector,
    fit_portrait,
    fit_size,
    load_portrait,
    nothing_said,
    parse_prompt,
    prompt_vector,
)
from liveavatar.types import InputError, Portrait


@pytest.fixture
def quarters():
    """40 x 60 px: the left half red, the right half blue."""
    values = np.zeros((60, 40, 3), np.uint8)
    values[:, :20, 0] = 255
    values[:, 20:, 2] = 255
    return values


def blank(height, width):
    return Portrait(torch.zeros(3, height, width))


# ---- portrait: what is accepted

def test_every_form_of_a_picture_gives_the_same_pixels(tmp_path, quarters):
    Image.fromarray(quarters).save(tmp_path / "p.png")
    forms = [tmp_path / "p.png", str(tmp_path / "p.png"), Image.fromarray(quarters), quarters,
             torch.from_numpy(quarters).permute(2, 0, 1).float() / 255]
    for form in forms:
        pixels = load_portrait(form).pixels
        assert pixels.shape == (3, 60, 40) and pixels.dtype == torch.float32
        assert pixels[:, 0, 0].tolist() == [1, 0, 0] and pixels[:, 0, -1].tolist() == [0, 0, 1]


def test_a_portrait_passes_through_unchanged():
    portrait = blank(64, 64)
    assert load_portrait(portrait) is portrait


def test_a_file_is_known_by_its_hash(tmp_path, quarters):
    path = tmp_path / "p.png"
    Image.fromarray(quarters).save(path)
    portrait = load_portrait(path)
    assert portrait.source == str(path) and portrait.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_rendered_portrait_brings_its_identity_and_no_warning(tmp_path, recwarn):
    from liveavatar.avatars.portraits import avatar, save_portrait
    made = avatar(seed=3, size=(64, 64))
    save_portrait(made, tmp_path / "made.png")
    loaded = load_portrait(tmp_path / "made.png")
    torch.testing.assert_close(loaded.identity, made.identity)
    assert not [w for w in recwarn if "rendered" in str(w.message)]


def test_a_photo_is_accepted_with_a_warning_only_where_weights_know_no_photos(quarters, recwarn):
    load_portrait(quarters)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="These weights were trained on rendered avatars"):
        load_portrait(quarters, expects_rendered=True)


def test_exif_rotation_is_honoured(tmp_path, quarters):
    exif = Image.Exif()
    exif[0x0112] = 6                                               # stored lying on its side: turn clockwise
    Image.fromarray(quarters).save(tmp_path / "turned.png", exif=exif)
    pixels = load_portrait(tmp_path / "turned.png").pixels
    assert pixels.shape == (3, 40, 60)
    assert pixels[:, 0, 0].tolist() == [1, 0, 0] and pixels[:, -1, 0].tolist() == [0, 0, 1]


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert load_portrait(tmp_path / "clear.png").pixels.min() == 1


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "print.tif")
    assert load_portrait(tmp_path / "print.tif").pixels[:, 0, 0].tolist() == [1, 0, 0]


def test_sixteen_bits_keep_their_range(tmp_path):
    Image.fromarray(np.full((40, 40), 32768, np.uint16)).save(tmp_path / "deep.png")
    pixels = load_portrait(tmp_path / "deep.png").pixels
    assert pixels.shape == (3, 40, 40) and pixels.mean().item() == pytest.approx(0.5, abs=1e-3)


def display_p3() -> bytes:
    """A colour profile with the primaries of Display P3 (adapted to D50) and a gamma of 2.2."""
    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 11) + b"Display P3\0" + bytes(80)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none\0",
            b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249))),
            b"rXYZ": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.51512, 0.24120, -0.00105))),
            b"gXYZ": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.29198, 0.69225, 0.04189))),
            b"bXYZ": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.15710, 0.06657, 0.78407))),
            b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", offset + len(data), len(value))
        data += value
    size = struct.pack(">I", offset + len(data))
    head = size + bytes(4) + struct.pack(">I", 0x02400000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return head + b"".join(map(fixed, (0.9642, 1.0, 0.8249))) + bytes(48) + table + data


@pytest.mark.parametrize(("name", "mode"), [("photo.png", "RGB"), ("photo.jpg", "RGB"), ("cut_out.png", "RGBA")])
def test_a_colour_profile_is_honoured(tmp_path, name, mode):
    """The same numbers mean stronger colours in Display P3: ignored, red would be 19 of 255 off."""
    Image.new("RGB", (40, 40), (200, 60, 60)).convert(mode).save(tmp_path / name, icc_profile=display_p3(), quality=100)
    linear = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]]) @ (
        np.array([200, 60, 60]) / 255) ** 2.2
    expected = np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055, 12.92 * linear)
    found = load_portrait(tmp_path / name).pixels[:, 20, 20].numpy()
    assert np.abs(found - expected).max() < 3 / 255 and found[0] > 215 / 255


def test_a_profile_that_is_none_is_said_and_left_out(tmp_path):
    Image.new("RGB", (40, 40), (200, 60, 60)).save(tmp_path / "photo.png", icc_profile=b"none")
    with pytest.warns(UserWarning, match="its colour profile cannot be used"):
        pixels = load_portrait(tmp_path / "photo.png").pixels
    assert (pixels[:, 0, 0] * 255).round().tolist() == [200, 60, 60]


@pytest.mark.parametrize(("kind", "white"), [(np.uint32, 2**32 - 1), (np.uint32, 65535), (np.uint32, 255),
                                             (np.float32, 1.0), (np.float32, 255.0)])
def test_tiff_of_32_bits_keeps_its_range(tmp_path, kind, white):
    """Pillow writes signed numbers only, so the tag is changed by hand that says which they are."""
    values = (np.linspace(0, 1, 40) * white).astype(kind).repeat(40).reshape(40, 40)
    picture = Image.fromarray(values.view(np.int32) if kind is np.uint32 else values)
    picture.save(tmp_path / "deep.tif")
    data, signed, unsigned = (tmp_path / "deep.tif").read_bytes(), *(struct.pack("<HHIH", 339, 3, 1, n) for n in (2, 1))
    (tmp_path / "deep.tif").write_bytes(data.replace(signed, unsigned))
    pixels = load_portrait(tmp_path / "deep.tif").pixels
    np.testing.assert_allclose(pixels[0, :, 7], np.linspace(0, 1, 40), atol=1 / 255)


def test_of_an_animation_the_first_picture_is_taken_with_a_warning(tmp_path):
    first, second = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    with pytest.warns(UserWarning, match="2 pictures in one file; the first is used"):
        pixels = load_portrait(tmp_path / "moving.gif").pixels
    assert pixels[0, 0, 0] > 0.9 and pixels[2, 0, 0] < 0.1


# ---- portrait: what is refused, and in which words

def png_header(width, height):
    """The first bytes of a PNG: signature, the chunk that names its extent, the beginning of the pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\1IDAT"


def save_bad(folder, kind):
    path = folder / f"{kind}.png"
    if kind == "missing":
        pass
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "truncated":
        Image.effect_noise((200, 200), 80).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "dot":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "huge":
        path.write_bytes(png_header(20_000, 20_000))               # refused before anything is decoded
    elif kind == "long":
        path.write_bytes(png_header(20_000, 100))
    return path


@pytest.mark.parametrize("kind, words", [
    ("missing", "does not exist; give the path"),
    ("folder", "is a folder"),
    ("empty", r"\(0 bytes\) is not a picture"),
    ("text", r"\(13 bytes\) is not a picture"),
    ("truncated", "is damaged"),
    ("dot", "is 1 x 1 px; a portrait needs at least 32"),
    ("huge", "400 megapixels; at most 64"),
    ("long", "is 20000 x 100 px; at most 16384 px a side"),
])
def test_a_bad_file_is_refused_by_name(tmp_path, kind, words):
    path = save_bad(tmp_path, kind)
    with pytest.raises(InputError, match=words) as caught:
        load_portrait(path)
    assert kind in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value, words", [
    (np.zeros((40, 40), np.uint8), r"shape \(40, 40\)"),
    (np.full((40, 40, 3), 200.0), r"0\.\.1: divide 8-bit values by 255|divide 8-bit values by 255"),
    (np.full((3, 40, 40), np.nan), "nan"),
    (np.zeros((40, 40, 3), np.int32), "uint8, or float"),
    (42, "cannot be made from int"),
])
def test_a_bad_array_is_refused(value, words):
    with pytest.raises(InputError, match=words):
        load_portrait(value)


# ---- size

@pytest.mark.parametrize("area, portrait, fitted", [
    ((128, 128), (512, 512), (128, 128)),
    ((128, 128), (50, 50), (128, 128)),
    ((128, 128), (1920, 1080), (160, 96)),
    ((96, 160), (1080, 1920), (96, 160)),
    ((96, 160), (600, 600), (112, 112)),
    ((192, 192), (100, 100), (192, 192)),
    ((128, 128), (64, 6400), (80, 160)),
])
def test_size_is_an_area_and_the_portrait_gives_the_shape(area, portrait, fitted):
    assert fit_size(area, blank(*portrait)) == fitted


def test_the_multiple_of_another_model_is_kept():
    height, width = fit_size((384, 704), blank(400, 720), multiple=64)
    assert height % 64 == width % 64 == 0 and height * width <= 384 * 704


def test_fitting_keeps_the_middle_and_fills_every_pixel():
    pixels = torch.zeros(3, 100, 300)
    pixels[:, :, 90:210] = 1                                       # only the middle third is white
    fitted = fit_portrait(Portrait(pixels), (64, 64))
    assert fitted.shape == (3, 64, 64) and fitted.min() > 0.99


def test_a_portrait_of_the_right_size_is_not_resampled():
    pixels = torch.rand(3, 128, 128)
    assert torch.equal(fit_portrait(Portrait(pixels), (128, 128)), pixels)


# ---- prompt

def test_the_vocabulary_names_every_value_of_every_slot():
    assert {slot: tuple(values) for slot, values in conditions.VOCABULARY.items()} == dict(CONTROLS)


def test_no_phrase_means_two_things():
    phrases = [phrase for values in conditions.VOCABULARY.values() for group in values.values() for phrase in group]
    assert len(phrases) == len(set(phrases))


@pytest.mark.parametrize("text, slots", [
    ("", {}),
    ("A friendly person waving, in warm light.", {"mood": "happy", "gesture": "wave", "lighting": "warm"}),
    ("Stern and calm under a SPOTLIGHT", {"mood": "serious", "energy": "calm", "lighting": "spot"}),
    ("a warm smile", {"mood": "happy"}),
    ("hands down, wide-eyed, lively", {"gesture": "rest", "mood": "surprised", "energy": "lively"}),
    ("moving her hands, neutral lighting", {"gesture": "beat", "lighting": "neutral"}),
    ("counting on fingers naturally", {"gesture": "point", "energy": "normal"}),
])
def test_words_become_slots(text, slots):
    prompt = parse_prompt(text)
    assert prompt.slots == slots and prompt.unknown == ()


@pytest.mark.parametrize("text, slots, unknown", [
    ("a smiling astronaut with a red hat", {"mood": "happy"}, ("astronaut", "red", "hat")),
    ("not smiling, waving", {"gesture": "wave"}, ("not smiling",)),
    ("she isn't very happy", {}, ("isn't happy",)),
    ("happy, then sad", {"mood": "happy"}, ("sad",)),
    ("dragon dragon", {}, ("dragon",)),
    ("微笑", {}, ("微笑",)),
    ("happy 😀, waving 👋🏽! 🎉🎉 (really)...", {"mood": "happy", "gesture": "wave"}, ("😀", "👋🏽", "🎉🎉", "really")),
])
def test_words_that_change_nothing_are_reported(text, slots, unknown):
    prompt = parse_prompt(text)
    assert prompt.slots == slots
    assert tuple(word for word in prompt.unknown if word != "then") == unknown


@pytest.mark.parametrize("text", ["word " * 10_000, "x" * 100_000])
def test_a_prompt_without_end_is_refused(text):
    with pytest.raises(InputError, match="at most 512 words"):
        parse_prompt(text)


def test_a_prompt_of_another_kind_is_refused():
    with pytest.raises(InputError, match="not int"):
        parse_prompt(3)


def test_each_slot_is_one_row_with_one_column_set():
    vector = prompt_vector(parse_prompt("waving, in cool light"))
    assert vector.shape == (1, 4, 19)
    # gesture 0..3 | 4 not given | mood 5..8 | 9 | lighting 10..13 | 14 | energy 15..17 | 18
    assert vector[0].argmax(1).tolist() == [2, 5, 12, 16]
    assert vector.sum().item() == 4


def test_a_batch_of_controls_gives_the_same_rows():
    vectors = controls_vector(torch.tensor([[0, 0, 0, 0], [2, 0, 2, 1]]))
    assert vectors.shape == (2, 4, 19)
    assert torch.equal(vectors[1:], prompt_vector(parse_prompt("waving, in cool light")))
    assert vectors[0].argmax(1).tolist() == [0, 5, 10, 15]


def test_an_empty_prompt_is_quiet_and_that_is_not_the_same_as_nothing_said():
    assert prompt_vector(parse_prompt(""))[0].argmax(1).tolist() == [0, 5, 10, 16]
    assert nothing_said()[0].argmax(1).tolist() == [4, 9, 14, 18]


def test_of_a_tall_picture_the_head_is_kept():
    pixels = torch.zeros(3, 300, 100)
    pixels[:, 40:80] = 1                                           # the head
    fitted = fit_portrait(Portrait(pixels), (64, 64))
    assert fitted[0].mean(1).gt(0.5).sum() == pytest.approx(64 * 40 / 100, abs=1)


def test_controls_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"\[5, 5, 5, 4\]"):
        controls_vector(torch.tensor([[0, 0, 0, 4]]))

