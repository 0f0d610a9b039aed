"""Image files are decoded as a viewer shows them: 8-bit images exactly, others converted, or refused with the file name."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from originals import GREEN, NOISE, RED, encoded, error_of, folder_of, opaque, picture, read_folder, written
from PIL import Image, ImageCms

from resexp.datasets.decoding import decoded

SHADES_16_BIT = np.random.default_rng(4).integers(0, 65536, (6, 6), np.uint16)
SHADES = (SHADES_16_BIT // 256).astype(np.uint8)


def shown(content: bytes, tmp_path: Path, size: int = 6) -> np.ndarray:
    """(size, size, 3) of a file with this content."""
    file = tmp_path / "picture.png"
    file.write_bytes(content)
    return decoded(file, size)[0].permute(1, 2, 0).numpy()


def deep_color_with_transparency() -> bytes:
    """A PNG of 16 bits per channel in which (0x1234, 0, 0) is transparent."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + struct.pack(">6H", 0x1234, 0, 0, 0x12FF, 0, 0)) * 2
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">3H", 0x1234, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def gray(shades: np.ndarray) -> list[Any]:
    return np.stack([shades] * 3, axis=-1).tolist()


def tiff(values: np.ndarray, bits: int, *, photometric: int = 1, sample_format: int = 1, packed: bytes | None = None) -> bytes:
    """A little-endian TIFF of one strip (TIFF 6.0, section 2); photometric 0: white is zero."""
    content = values.astype(values.dtype.newbyteorder("<")).tobytes() if packed is None else packed
    height, width = values.shape
    tags = {
        256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height,
        279: len(content), 339: sample_format,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + struct.pack("<H", len(tags)) + entries + bytes(4)


# ---- ordinary pictures -------------------------------------------------------------------------------------------------


ORDINARY = {"PNG": "RGB L 1 P", "JPEG": "RGB L", "BMP": "RGB L 1 P", "WEBP": "RGB L", "TIFF": "RGB L 1 P", "PPM": "RGB L 1"}


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in ORDINARY.items() for mode in modes.split()])
def test_ordinary_pictures_are_decoded_exactly(form: str, mode: str, tmp_path: Path):
    content = encoded(NOISE.convert(mode), form)
    before = Image.open(io.BytesIO(content)).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)

    assert np.array_equal(shown(content, tmp_path, 32), np.asarray(before))


def test_opaque_pictures_with_an_alpha_channel_are_decoded_exactly(tmp_path: Path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colors = np.stack([values, values[::-1], values.T, np.full_like(values, 255)], axis=-1)

    assert np.array_equal(shown(encoded(Image.fromarray(colors)), tmp_path, 16), colors[..., :3])


# ---- bit depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(encoded(Image.fromarray(SHADES_16_BIT)), SHADES, id="16-bit PNG"),
        pytest.param(encoded(Image.fromarray(SHADES_16_BIT), "TIFF"), SHADES, id="16-bit TIFF"),
        pytest.param(encoded(Image.fromarray(SHADES_16_BIT.astype(np.int32)), "PPM"), SHADES, id="16-bit PGM"),
        pytest.param(encoded(Image.fromarray(SHADES_16_BIT.astype(">u2")), "TIFF"), SHADES, id="16-bit big-endian TIFF"),
        pytest.param(tiff(SHADES_16_BIT, 16), SHADES, id="16-bit TIFF written here"),
        pytest.param(tiff(SHADES_16_BIT, 16, photometric=0), 255 - SHADES, id="16-bit TIFF in which white is zero"),
        pytest.param(
            tiff(np.array([[0.0, 0.2], [0.6, 1.0]], np.float32), 32, sample_format=3), [[0, 51], [153, 255]], id="float"
        ),
        pytest.param(
            tiff(np.array([[0.0, 0.2], [0.6, 1.0]], np.float32), 32, sample_format=3, photometric=0),
            [[255, 204], [102, 0]],
            id="float in which white is zero",
        ),
        pytest.param(
            tiff(np.zeros((2, 2), np.uint16), 12, packed=bytes.fromhex("fff000 123800")), [[255, 0], [18, 128]], id="12 bits"
        ),
        pytest.param(encoded(Image.fromarray(SHADES % 2 == 0)), np.where(SHADES % 2 == 0, 255, 0), id="1 bit"),
    ],
)
def test_other_bit_depths_become_the_8_bit_shades_that_a_viewer_shows(content: bytes, expected: Any, tmp_path: Path):
    expected = np.asarray(expected)

    assert shown(content, tmp_path, len(expected)).tolist() == gray(expected)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(tiff(np.array([[0, 255.0]], np.float32), 32, sample_format=3), "floats from 0 to 255", id="floats to 255"),
        pytest.param(tiff(np.array([[-1, 1.0]], np.float32), 32, sample_format=3), "floats from -1 to 1", id="floats below 0"),
        pytest.param(tiff(np.array([[np.nan, 1]], np.float32), 32, sample_format=3), "floats from nan", id="not a number"),
        pytest.param(tiff(np.array([[0, 70000]], np.int32), 32), "32-bit integers", id="32-bit integers"),
        pytest.param(deep_color_with_transparency(), "one transparent color", id="a transparent color of 16 bits"),
        pytest.param(tiff(np.array([[-5, 5]], np.int16), 16, sample_format=2), "signed", id="signed integers"),
    ],
)
def test_values_without_a_defined_black_and_white_are_refused_with_the_file_name(content: bytes, problem: str, tmp_path: Path):
    folder_of(tmp_path, "train", "test", count=2)
    written(tmp_path / "train" / "cats", {"00.tif": content})

    message = error_of(lambda: read_folder(tmp_path))
    assert message.startswith(f"{tmp_path / 'train' / 'cats' / '00.tif'}: ")
    assert problem in message


# ---- transparency --------------------------------------------------------------------------------------------------------


def with_transparency(image: Image.Image, color: Any) -> bytes:
    return encoded(image, transparency=color)


PALETTE = picture(color=GREEN).convert("P")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(encoded(picture(color=(0, 0, 0, 0), mode="RGBA")), (255, 255, 255), id="RGBA, transparent"),
        pytest.param(encoded(picture(color=(0, 0, 0, 51), mode="RGBA")), (204, 204, 204), id="RGBA, 20% opaque"),
        pytest.param(encoded(picture(color=(100, 0), mode="LA")), (255, 255, 255), id="gray and alpha"),
        pytest.param(encoded(picture(color=(100, 255), mode="LA")), (100, 100, 100), id="opaque gray with alpha"),
        pytest.param(with_transparency(picture(color=RED), RED), (255, 255, 255), id="one transparent color"),
        pytest.param(with_transparency(picture(color=GREEN), RED), GREEN, id="another transparent color"),
        pytest.param(with_transparency(picture(color=7, mode="L"), 7), (255, 255, 255), id="one transparent shade"),
        pytest.param(with_transparency(PALETTE, PALETTE.getpixel((0, 0))), (255, 255, 255), id="one transparent palette entry"),
        pytest.param(encoded(opaque(PALETTE.copy())), GREEN, id="a palette of opaque entries"),
        pytest.param(with_transparency(Image.new("I;16", (9, 7), 7), 7), (255, 255, 255), id="one of 65,536 shades"),
        pytest.param(encoded(PALETTE, "GIF", transparency=PALETTE.getpixel((0, 0))), (255, 255, 255), id="GIF"),
        pytest.param(encoded(picture(color=(0, 0, 0, 0), mode="RGBA"), "WEBP", lossless=True), (255, 255, 255), id="WEBP"),
        pytest.param(encoded(picture(color=(0, 0, 0, 0), mode="RGBA"), "TIFF"), (255, 255, 255), id="TIFF"),
    ],
)
def test_transparent_pixels_are_shown_on_white(content: bytes, expected: tuple[int, int, int], tmp_path: Path):
    assert np.unique(shown(content, tmp_path).reshape(-1, 3), axis=0).tolist() == [list(expected)]


# ---- orientation, color spaces, frames -----------------------------------------------------------------------------------

CORNERS = np.array([[0, 50, 100], [150, 200, 250], [20, 70, 120]], np.uint8)
# Where the first row and the first column of the stored picture are shown: EXIF 2.3, tag 274.
SHOWN_BY_ORIENTATION = {
    1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
    5: CORNERS.T, 6: CORNERS.T[:, ::-1], 7: CORNERS.T[::-1, ::-1], 8: CORNERS.T[::-1],
}  # fmt: skip


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", SHOWN_BY_ORIENTATION)
def test_the_orientation_of_the_metadata_is_applied(orientation: int, form: str, tmp_path: Path):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(Image.fromarray(CORNERS).convert("RGB"), form, exif=exif, **options)

    assert shown(content, tmp_path, 3).tolist() == gray(SHOWN_BY_ORIENTATION[orientation])


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0", b"not exif", b""], ids=["empty", "truncated", "other", "none"]
)
def test_invalid_metadata_are_ignored(exif: bytes, tmp_path: Path):
    assert shown(encoded(Image.fromarray(CORNERS), exif=exif), tmp_path, 3).tolist() == gray(CORNERS)


def test_lab_pictures_are_converted_to_rgb(tmp_path: Path):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    colors = np.array([[RED, GREEN], [(255, 255, 255), (0, 0, 0)]], np.uint8)
    lab = ImageCms.profileToProfile(Image.fromarray(colors), *profiles, outputMode="LAB")

    assert lab.mode == "LAB"
    assert (
        np.abs(shown(encoded(lab, "TIFF"), tmp_path, 2).astype(int) - colors).max() < 25
    )  # the red of the test is (255, 0, 0)


@pytest.mark.parametrize("profile", [None, b"not a profile"], ids=["without a profile", "with an invalid profile"])
def test_cmyk_pictures_are_converted_to_rgb(profile: bytes | None, tmp_path: Path):
    content = encoded(picture(color=(0, 255, 255, 0), mode="CMYK"), "TIFF", **({"icc_profile": profile} if profile else {}))

    assert np.unique(shown(content, tmp_path).reshape(-1, 3), axis=0).tolist() == [list(RED)]


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_used_with_a_remark(form: str, tmp_path: Path):
    folder_of(tmp_path, "train", "test", count=2)
    frames = [picture((8, 8), color) for color in (GREEN, RED)]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    written(tmp_path / "train" / "cats", {"0.webp": content})
    images = read_folder(tmp_path)

    assert images.pixels[0, :, 4, 4].tolist() == list(GREEN)
    assert [remark for remark in images.remarks if "1 train image file" in remark and "the first of each" in remark]
    assert read_folder(tmp_path, "test").remarks == ()
