"""Pictures of results: get the original again, write one, show one."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.files import atomic_path

Image = NDArray[np.uint8]


def names_image(path: str) -> bool:
    """Whether the path's suffix is an image file's."""
    from yolopose.sources.suffixes import IMAGE_SUFFIXES, suffix_of

    return suffix_of(path) in IMAGE_SUFFIXES


def reopen(path: str, shape: tuple[int, int]) -> Image:
    """The image file at `path` once more, as (H, W, 3) BGR.

    Raises:
        PoseError: it is no image file, is gone, or no longer has `shape` (H, W).
    """
    from yolopose.images import read_image

    remedy = "; predict with keep_image=True to keep the images"
    if not names_image(path):
        raise PoseError(f"{path}: the image was not kept, and this is no image file to read again{remedy}")
    try:
        image = read_image(path)
    except PoseError as error:
        raise PoseError(f"{error} (the image was not kept{remedy})") from None
    if image.shape[:2] != shape:
        now, then = (f"{w}x{h}" for h, w in (image.shape[:2], shape))
        raise PoseError(f"{path}: has changed since it was predicted, from {then} to {now} pixels{remedy}")
    return image


def picture_suffix(source: str) -> str:
    """In which format the picture of a source is written: in its own when OpenCV writes that, otherwise as `.jpg`."""
    suffix = Path(source).suffix.lower()
    return suffix if suffix in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff") else ".jpg"


def picture_path(source: str, filename: str | Path | None) -> Path:
    """`filename`, or for None `results_<name>` of the source, in the working folder."""
    return Path(filename) if filename else Path(f"results_{Path(source).stem or 'image'}{picture_suffix(source)}")


def write_picture(image: Image, path: Path) -> None:
    """Write (H, W, 3) BGR in the format that the suffix names, making its folder.

    Raises:
        PoseError: OpenCV writes no such format, or the file cannot be written.
    """
    import cv2

    try:
        data = cv2.imencode(path.suffix, image)[1]
    except cv2.error:
        raise PoseError(f"{path}: no picture format that OpenCV writes; use .jpg or .png") from None
    try:
        with atomic_path(path) as part:
            part.write_bytes(data.tobytes())
    except OSError as e:
        raise PoseError(f"{path}: cannot be written: {e.strerror or e}") from None


def show_picture(image: Image, title: str) -> None:
    """Show (H, W, 3) BGR in a notebook or a window, which waits for a key when `title` is an image file.

    Raises:
        PoseError: there is no display, or OpenCV was built without windows.
    """
    import cv2

    if "ipykernel" in sys.modules:
        display = import_module("IPython.display")
        display.display(display.Image(data=cv2.imencode(".png", image)[1].tobytes()))
        return
    remedy = "save the picture instead, with .save('picture.jpg') or save=True"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise PoseError(f"cannot show: this machine has no display; {remedy}")
    try:
        cv2.imshow(title, image)
        cv2.waitKey(0 if names_image(title) else 1)
    except cv2.error:
        raise PoseError(f"cannot show: opencv-python-headless has no windows; {remedy}") from None


def as_pil(image: Image) -> Any:
    """(H, W, 3) BGR → a PIL image, RGB."""
    from PIL import Image as pil

    return pil.fromarray(np.ascontiguousarray(image[..., ::-1]))


def aligned(image: Image, points: NDArray[Any], size: int) -> Image:
    """(H, W, 3) and the five landmarks (5, 2) of a face, continuous pixels → (size, size, 3), eyes level, in place.

    Raises:
        ValueError: the points coincide.
    """
    import cv2

    from yolopose.geometry.align import FACE_TEMPLATE, FACE_TEMPLATE_SIDE, similarity

    # The template and OpenCV count from the centre of a pixel, keypoints from its corner.
    matrix = similarity(np.asarray(points, np.float64) - 0.5, FACE_TEMPLATE * (size / FACE_TEMPLATE_SIDE))
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)
