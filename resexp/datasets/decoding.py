"""Decodes one image file to RGB pixels, as an image viewer shows it."""

import struct
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, TiffImagePlugin
from torch import Tensor

from resexp.datasets.images import READ_ERRORS, DataError

# Allowed formats, independent of the file name. Decoding them starts no other program; PIL would start one for EPS.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 258, 262, 274  # TIFF tags; EXIF also has ORIENTATION
WHITE_IS_ZERO = 0  # value of PHOTOMETRIC
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decoded(path: Path, size: int) -> tuple[Tensor, bool]:
    """((3, size, size) uint8, whether the file has several frames or pages, of which the first is used).

    Transparent pixels are shown on white, EXIF orientation is applied, 16 bits become 8, floats from 0 to 1 become 0 to 255.
    The aspect ratio is not preserved, nothing is cropped.

    Raises:
        DataError: a picture that viewers show differently or cannot show.
        OSError, ValueError and the other READ_ERRORS: a damaged file.
    """
    try:  # PIL warns of images above its size limit, and refuses images above twice the limit
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(path, formats=FORMATS) as image,
        ):
            # The other pictures of an MPO file, a format of phones, are previews and depth maps.
            has_more_frames = image.format != "MPO" and getattr(image, "is_animated", False)
            resized = _upright(_in_colors(image, path), image).resize((size, size), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1), bool(has_more_frames)


def _upright(picture: Image.Image, image: Image.Image) -> Image.Image:
    """The picture in the orientation of its metadata; invalid metadata are ignored."""
    transpose = None
    with suppress(*READ_ERRORS):
        transpose = TRANSPOSES.get(image.getexif().get(ORIENTATION, 1))
    return picture if transpose is None else picture.transpose(transpose)


def _in_colors(image: Image.Image, path: Path) -> Image.Image:
    """The picture as opaque RGB with 8 bits per channel."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _gray(image, path).convert("RGB")
    if image.mode == "LAB" or (image.mode == "CMYK" and "icc_profile" in image.info):
        return _managed(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    color = image.info.get("transparency")
    if isinstance(color, tuple) and max(color) > 255:
        raise DataError(f"{path}: 16 bits per channel with one transparent color; save it with an alpha channel, or 8 bits")
    background = Image.new("RGBA", image.size, "white")
    foreground = image.convert("LA") if image.mode == "La" else image
    return Image.alpha_composite(background, foreground.convert("RGBA")).convert("RGB")


def _gray(image: Image.Image, path: Path) -> Image.Image:
    """16-bit and floating-point gray values as 8 bits; of 16 bits the upper 8 are used, as PIL does for colors."""
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    is_inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    values = np.asarray(image)
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also true for nan
            problem = f"floats from {low:.6g} to {high:.6g}, but 0 (black) to 1 (white) is expected"
            raise DataError(f"{path}: {problem}; scale them, or save 8 or 16 bits")
        shades = np.rint(255 * values.astype(np.float64))
    elif tags and image.mode == "I":
        raise DataError(f"{path}: signed or 32-bit integers, for which white is undefined; save 8 or 16 bits")
    else:
        shades = values.astype(np.int64) >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)
    shades = 255 - shades if is_inverted else shades
    if isinstance(transparent := image.info.get("transparency"), int):
        shades = np.where(values == transparent, 255, shades)
    return Image.fromarray(shades.astype(np.uint8))


def _managed(image: Image.Image) -> Image.Image:
    """A LAB picture, or a CMYK picture with a color profile, in sRGB."""
    image.load()
    try:
        is_lab = image.mode == "LAB"
        profile = ImageCms.createProfile("LAB") if is_lab else ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, struct.error):
        return image.convert("RGB")  # an invalid profile: converted as CMYK without a profile
    assert converted is not None  # None only for conversion in place
    return converted
