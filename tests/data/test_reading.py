"""Which way up, on which background, and from which range: what becomes of the pixels of a picture."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.decode import CorruptImage, decode
from outskirts.data.levels import measured_reading, range_of
from outskirts.data.reading import FIRST, USUAL, Reading
from outskirts.data.transform import Transform

RANDOM = np.random.default_rng(0)


def encoded(picture, format="png", **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def deep_png(pixels):
    """A PNG file of 16 bits, of an array [H, W, C] with 1 to 4 channels."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {1: 0, 3: 2, 2: 4, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "format"), [("RGB", "jpeg"), ("L", "png"), ("RGBA", "webp"), ("P", "png")])
def test_images_are_upright_as_every_viewer_shows_them(orientation, mode, format):
    picture = Image.fromarray(RANDOM.integers(0, 256, (8, 12, 3), np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(picture, format, exif=exif)
    kind = "L" if mode == "L" else "RGB"
    with Image.open(io.BytesIO(stored)) as opened:
        shown, lying = ImageOps.exif_transpose(opened).convert(kind), opened.convert(kind)
    for item in (stored, Image.open(io.BytesIO(stored))):
        image = decode(item, "x", USUAL)
        assert torch.equal(image.permute(1, 2, 0).squeeze(2), torch.from_numpy(np.array(shown)))
        for reading in (Reading(upright=False), FIRST):
            image = decode(item, "x", reading)
            assert torch.equal(image.permute(1, 2, 0).squeeze(2), torch.from_numpy(np.array(lying)))


def test_a_deep_image_is_upright_too():
    pixels = RANDOM.integers(0, 65536, (8, 12), np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode(encoded(Image.fromarray(pixels), exif=exif), "x", Reading(levels=(0, 65535)))
    assert torch.equal(image[0].double(), torch.from_numpy(np.round(np.rot90(pixels, -1) / 257)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_nothing_is_warned_of_exif_data_that_ends_too_soon(format):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "camera" * 9, 6
    whole = exif.tobytes()
    for length in range(len(whole)):
        decode(encoded(Image.new("RGB", (8, 6)), format, exif=whole[:length]), "x")


def test_damaged_exif_data_turns_nothing():
    picture = Image.fromarray(RANDOM.integers(0, 256, (8, 12, 3), np.uint8))
    stored = encoded(picture, exif=b"Exif\0\0no such thing")
    assert decode(stored, "x", USUAL).shape == (3, 8, 12)


@pytest.mark.parametrize("background", [255, 0, 100])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_on_a_background(mode, background):
    stored = RANDOM.integers(0, 256, (40, 50, 4 if mode == "RGBA" else 2), np.uint8)
    image = decode(encoded(Image.fromarray(stored, mode)), "x", Reading(background=background))
    colours, alpha = stored[..., :-1] / 255, stored[..., -1:] / 255
    naive = np.round(255 * (alpha * colours + (1 - alpha) * background / 255))
    assert torch.equal(image.double(), torch.from_numpy(naive).permute(2, 0, 1))
    dropped = decode(encoded(Image.fromarray(stored, mode)), "x", Reading(background=None))
    assert torch.equal(dropped, torch.from_numpy(stored[..., :-1]).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_changes_nothing(mode):
    stored = RANDOM.integers(0, 256, (8, 10, 4 if mode == "RGBA" else 2), np.uint8)
    stored[..., -1] = 255
    item = encoded(Image.fromarray(stored, mode))
    assert torch.equal(decode(item, "x", USUAL), decode(item, "x", FIRST))


def test_a_transparent_colour_is_laid_on_white():
    grey = np.repeat(np.arange(8, dtype=np.uint8)[None], 8, 0)
    image = decode(encoded(Image.fromarray(grey), transparency=3), "x", USUAL)
    assert image[0, 0].tolist() == [0, 1, 2, 255, 4, 5, 6, 7]
    palette = Image.fromarray(grey).convert("P")
    image = decode(encoded(palette, "gif", transparency=palette.getpixel((3, 0))), "x", USUAL)
    assert image[0, 0].tolist() == [0, 1, 2, 255, 4, 5, 6, 7]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_keep_them(channels, tmp_path):
    pixels = RANDOM.integers(20000, 24096, (8, 10, channels), np.uint16)
    (tmp_path / "x.png").write_bytes(deep_png(pixels))
    for item in (deep_png(pixels), tmp_path / "x.png"):
        image = decode(item, "x", Reading(background=None, levels=(20000, 24095)))
        colours = pixels[..., :3] if channels > 2 else pixels[..., :1]
        expected = np.round((colours.astype(float) - 20000) * 255 / 4095)
        assert torch.equal(image.double(), torch.from_numpy(expected).permute(2, 0, 1))
        with pytest.raises(OutskirtsError, match=r"x holds uint16 from .* and no range is known"):
            decode(item, "x", USUAL)


def test_alpha_of_16_bits():
    pixels = RANDOM.integers(0, 65536, (8, 10, 4), np.uint16)
    image = decode(deep_png(pixels), "x", Reading(levels=(0, 65535)))
    alpha = pixels[..., 3:] / 65535
    laid = np.round(alpha * pixels[..., :3] + (1 - alpha) * 65535)
    assert (image.permute(1, 2, 0).double() - torch.from_numpy(laid / 257)).abs().max() <= 0.5 + 1 / 257


def test_deep_colours_that_cannot_be_read_whole_are_refused():
    pixels = RANDOM.integers(0, 65536, (8, 10, 3), np.uint16)
    content = b"P6 10 8 65535\n" + pixels.astype(">u2").tobytes()
    with pytest.raises(CorruptImage, match=r"x cannot be decoded \(it has 16 bits .* save it as such a file"):
        decode(content, "x", USUAL)
    # Version 0.1 took the higher ones.
    assert decode(content, "x", FIRST).shape == (3, 8, 10)


def frames(count=3, mode="L"):
    return [Image.new(mode, (8, 8), 40 * i) for i in range(count)]


@pytest.mark.parametrize(
    ("format", "sentence"),
    [
        ("gif", "animation of 3 frames, and an image is one; save the frame"),
        ("webp", "animation of 3 frames"),
        ("png", "animation of 3 frames"),
        ("tiff", r"3 pages, and an image is one; .*\?channels=0,1,2"),
    ],
)
def test_more_than_one_picture_is_refused(format, sentence):
    first, *rest = frames()
    stored = encoded(first, format, save_all=True, append_images=rest)
    with pytest.raises(CorruptImage, match=f"cat.x cannot be decoded .*{sentence}"):
        decode(stored, "cat.x", USUAL)
    assert decode(stored, "x", FIRST)[0].float().mean() < 5


def test_a_photograph_with_a_preview_is_one_picture():
    picture = Image.fromarray(RANDOM.integers(0, 256, (16, 16, 3), np.uint8))
    stored = encoded(picture, "mpo", save_all=True, append_images=[picture.resize((8, 8))])
    with Image.open(io.BytesIO(stored)) as opened:
        assert opened.format == "MPO" and opened.n_frames == 2
        assert torch.equal(decode(stored, "x", USUAL).permute(1, 2, 0), torch.from_numpy(np.array(opened)))


def test_a_page_that_is_a_smaller_copy_is_no_other_picture():
    stream = io.BytesIO()
    Image.new("L", (16, 16), 7).save(
        stream, "tiff", save_all=True, append_images=[Image.new("L", (8, 8), 9)], tiffinfo={}
    )
    content = stream.getvalue()
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.n_frames == 2
    small = io.BytesIO()
    copy = Image.new("L", (8, 8), 9)
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    Image.new("L", (16, 16), 7).save(small, "tiff", save_all=True, append_images=[copy])
    with Image.open(small) as opened:
        opened.seek(1)
        assert opened.tag_v2[254] == 1
    assert decode(small.getvalue(), "x", USUAL).unique().tolist() == [7]


def tiff(channels, extra):
    """A TIFF file of many channels, of which none is compressed."""
    pixels = bytes(range(64)) * channels
    extra = [(338, 3, len(extra), extra)] if extra else []
    entries = [(256, 3, 1, [8]), (257, 3, 1, [8]), (258, 3, channels, [8] * channels), (259, 3, 1, [1])]
    entries += [(262, 3, 1, [2 if channels > 2 else 1]), (273, 4, 1, [0]), (277, 3, 1, [channels]), (278, 3, 1, [8])]
    entries = sorted([*entries, (279, 4, 1, [len(pixels)]), *extra])
    after = 8 + 2 + 12 * len(entries) + 4
    tail, table = b"", b""
    for tag, kind, count, values in entries:
        if tag == 273:
            table += struct.pack("<HHII", tag, kind, count, 0xFFFFFFF0)
            continue
        content = struct.pack(f"<{count}{'H' if kind == 3 else 'I'}", *values)
        if len(content) > 4:
            table += struct.pack("<HHII", tag, kind, count, after + len(tail))
            tail += content
        else:
            table += struct.pack("<HHI", tag, kind, count) + content.ljust(4, b"\0")
    table = table.replace(struct.pack("<I", 0xFFFFFFF0), struct.pack("<I", after + len(tail)))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + b"\0\0\0\0" + tail + pixels


@pytest.mark.parametrize(("channels", "extra"), [(4, [0]), (5, [0, 0]), (6, [0, 0, 0]), (7, [0] * 4)])
def test_a_tiff_file_of_many_channels_is_refused(channels, extra):
    with pytest.raises(CorruptImage, match=r"x cannot be decoded .*channels.* \.npy file, of which \?channels=0,1,2"):
        decode(tiff(channels, extra), "x", USUAL)
    assert decode(tiff(3, []), "x", USUAL).shape == (3, 8, 8)


def test_floating_point_pictures_are_read():
    values = np.linspace(-3, 7, 64, dtype=np.float32).reshape(8, 8)
    stored = encoded(Image.fromarray(values), "tiff")
    expected = np.round((values.astype(float) + 3) * 25.5)
    assert torch.equal(decode(stored, "x", Reading(levels=(-3, 7)))[0].double(), torch.from_numpy(expected))
    shares = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    image = decode(encoded(Image.fromarray(shares), "tiff"), "x", USUAL)
    assert torch.equal(image[0], torch.from_numpy((shares * 255).round().astype(np.uint8)))


def test_bytes_stay_as_they_are_beside_a_range():
    grey = RANDOM.integers(0, 256, (8, 8), np.uint8)
    assert torch.equal(decode(grey, "x", Reading(levels=(29000, 30000)))[0], torch.from_numpy(grey))


@pytest.mark.parametrize("shape", [(3, 8, 8, 1), (8, 8, 4), (8, 8, 2), (8, 8, 5), (64,)])
def test_an_array_of_other_channels_is_no_image(shape):
    with pytest.raises(CorruptImage, match=r"x has the shape .*; an image is \[H, W\], or \[H, W, C\] with 1 or 3"):
        decode(np.zeros(shape, np.uint8), "x")


def test_a_transform_of_version_0_1_reads_as_it_did():
    written = {"size": 8, "channels": 1, "mean": [0.5], "std": [0.5], "resize": None, "interpolation": "bilinear"}
    transform = Transform.from_json({**written, "trunk": ""})
    assert transform.reading == FIRST
    # Stored outputs are addressed by what is written.
    assert transform.to_json() == {**written, "trunk": ""}
    pixels = RANDOM.integers(0, 256, (8, 12, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(Image.fromarray(pixels), exif=exif)
    deep = RANDOM.integers(0, 65536, (8, 12), np.uint16)
    moving = encoded(frames()[1], "webp", save_all=True, append_images=frames(), lossless=True)
    images = osk.ImageSet([lying, encoded(Image.fromarray(deep)), moving])
    expected = [Image.fromarray(pixels[..., :3]), Image.fromarray((deep >> 8).astype(np.uint8))]
    expected.append(frames()[1].convert("RGB"))
    for i, picture in enumerate(expected):
        grey = torch.from_numpy(np.array(picture)).view(8, picture.width, -1).permute(2, 0, 1)
        assert torch.equal(images.image(i, transform.reading), grey)
    assert torch.equal(images.resident(transform)[0][1], transform.host(images.image(1, FIRST)))


def test_a_reading_is_part_of_the_transform():
    transform = Transform(8, 1, reading=Reading(levels=(29000, 30000.5)))
    written = transform.to_json()
    assert written["reading"] == {"upright": True, "background": 255, "levels": [29000, 30000.5]}
    assert Transform.from_json(written) == transform
    assert Transform(8, 1).host_key() != transform.host_key()
    for wrong, sentence in (
        ({"upright": 3}, "upright of the reading is 3"),
        ({"levels": [1]}, "two numbers"),
        ({"levels": [2, 1]}, "smaller one first"),
        ({"levels": "some"}, "levels must be"),
        ({"background": 256}, "background must be"),
        ({"turned": True}, "no field of a reading 'turned'"),
    ):
        with pytest.raises(OutskirtsError, match=sentence):
            Transform.from_json({**written, "reading": {**written["reading"], **wrong}})
    with pytest.raises(OutskirtsError, match="the reading lacks 'upright'"):
        Transform.from_json({**written, "reading": {}})


def test_changes_of_images_are_made_after_they_were_read(tmp_path):
    deep = RANDOM.integers(29000, 30001, (4, 8, 12), np.uint16)
    np.save(tmp_path / "x.npy", deep)
    reading = Reading(levels=(29000, 30000))
    plain, faded = osk.open(tmp_path / "x.npy"), osk.open(f"{tmp_path / 'x.npy'}?contrast=100")
    assert all(torch.equal(plain.image(i, reading), faded.image(i, reading)) for i in range(4))
    assert len(set(faded.keys)) == 4
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RANDOM.integers(0, 256, (8, 12, 3), np.uint8)).save(tmp_path / "x.png", exif=exif)
    (tmp_path / "a").mkdir()
    (tmp_path / "x.png").rename(tmp_path / "a" / "x.png")
    turned = osk.open(f"folder:{tmp_path}?contrast=100")
    assert turned.image(0, USUAL).shape == (3, 12, 8) and turned.image(0, FIRST).shape == (3, 8, 12)


def test_a_range_is_that_of_all_but_a_few_far_pixels():
    usual = np.arange(29000, 30000)
    assert range_of(usual, 29000, 29999) == (29000, 29999)
    # A sensor's hot pixels, and the dead ones.
    low, high = range_of(np.array([*usual, 0, 65535]), 0, 65535)
    assert 28000 <= low < 29000 and 30000 < high <= 31000
    # What is not far is kept whole.
    assert range_of(np.array([*usual, 30500]), 29000, 30500) == (29000, 30500)
    assert range_of(np.full(100, 7.0), 7, 7) == (7, 8)
    assert range_of(np.array([0.0] * 5000 + [3.0]), 0, 3) == (0, 3)


def test_a_range_is_measured_where_there_is_one(draw, tmp_path):
    assert measured_reading(osk.open(draw(tmp_path / "set")), USUAL) == USUAL
    assert measured_reading(osk.ImageSet(np.linspace(0, 1, 640).reshape(10, 8, 8)), USUAL) == USUAL
    said = []
    deep = np.linspace(-2, 3, 640).reshape(10, 8, 8)
    reading = measured_reading(osk.ImageSet(deep), USUAL, say=said.append)
    assert reading.levels == (-2, 3) and "pixels from -2 to 3 become 0 to 255" in said[0]
    stored = [b"no image", *(encoded(Image.fromarray(one)) for one in RANDOM.integers(500, 900, (6, 8, 8), np.uint16))]
    with pytest.raises(CorruptImage, match="row 0 of The image set"):
        measured_reading(osk.ImageSet([encoded(Image.new("I;16", (2, 2)))]), USUAL)
    levels = measured_reading(osk.ImageSet(stored), USUAL, skip_corrupt=True).levels
    assert 500 <= levels[0] < 520 and 880 < levels[1] < 900
    with pytest.raises(OutskirtsError, match="finite numbers"):
        measured_reading(osk.ImageSet(np.full((3, 8, 8), np.nan)), USUAL)
