"""Pictures too large to be decoded whole: a few rows at a time, through libvips (pyvips, the extra `large`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from yolopose.errors import PoseError, one_line
from yolopose.files import open_regular
from yolopose.images.files import Image, ImageError, read_errors, safe_header, turned
from yolopose.limits import MAX_STRIP_BYTES, MAX_STRIP_PIXELS

ROWS = 64  # decoded in one call
_LOADERS = {"JPEG": "jpegload", "PNG": "pngload", "TIFF": "tiffload"}  # what libvips decodes from top to bottom
_COLOURS = {"b-w", "grey16", "srgb", "rgb", "rgb16", "scrgb", "multiband"}
_FAIL_ON = {"JPEG": "warning"}  # a cut-off JPEG gives grey and a warning; those of other formats are harmless
INSTALL = "pip install 'yolopose[large]'"


class StripPicture:
    """An open JPEG, PNG or TIFF file whose pixels are decoded strip by strip when they are asked for.

    Pixels are those of `read_image`: BGR, turned by the EXIF orientation, 16-bit samples reduced to their upper 8 bits,
    without transparency. Memory is that of the rows of one tile. The file is decoded from its first row to its last:
    regions in the sequence of `order` cost one decoding together, and one above its predecessor begins anew.

    Attributes:
        shape: (H, W, 3) after the orientation.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the header.

        Raises:
            ImageError: no complete JPEG, PNG or TIFF file, one that cannot be decoded in strips, or more than
                MAX_STRIP_PIXELS pixels.
            PoseError: pyvips is not installed.
        """
        self.path = str(path)
        with read_errors(path), open_regular(path) as file:
            header = safe_header(file, self.path, 1 << 64)
        if header.height * header.width > MAX_STRIP_PIXELS:
            raise ImageError(
                self.path, f"{header.width}x{header.height} pixels, more than {MAX_STRIP_PIXELS} in strips; split it"
            )
        if header.kind not in _LOADERS:
            raise ImageError(self.path, f"{header.kind} is not read in strips: convert it to a tiled TIFF or to JPEG")
        self._kind, self._orientation = header.kind, header.orientation
        self._stored = (header.height, header.width)
        self.shape = (*header.size, 3)
        self._reduced: Image | None = None
        self._open()

    def region(self, x1: int, y1: int, x2: int, y2: int) -> Image:
        """The pixels x1 <= x < x2, y1 <= y < y2: (y2 - y1, x2 - x1, 3) BGR; the array may not be written to.

        Raises:
            ImageError: the file is damaged or truncated there, or the rows of the region take more than
                MAX_STRIP_BYTES.
        """
        left, top, right, bottom = self._in_file(x1, y1, x2, y2)
        return turned(self._rows(top, bottom)[:, left:right], self._orientation)

    def order(self, regions: Sequence[tuple[int, int, int, int]]) -> list[int]:
        """The positions of regions x1 y1 x2 y2 in the sequence in which the file has their pixels."""
        tops = [self._in_file(*region)[1::-1] for region in regions]
        return sorted(range(len(regions)), key=tops.__getitem__)

    def reduced(self, long_side: int) -> Image:
        """The whole picture, scaled down by the mean of areas to a long side of at most `long_side`: (h, w, 3) BGR.

        It is kept: a smaller one is made of it without another decoding. Raises ImageError as `region` does.
        """
        import cv2

        side = min(long_side, max(self._stored))
        known = self._reduced
        if known is None or max(known.shape) < side:
            known = self._reduced = self._reduce(side)
        scale = side / max(known.shape[:2])
        w, h = (max(round(length * scale), 1) for length in known.shape[1::-1])
        return known if scale == 1 else np.asarray(cv2.resize(known, (w, h), interpolation=cv2.INTER_AREA), np.uint8)

    def _reduce(self, long_side: int) -> Image:
        """The whole picture decoded and scaled down."""
        import cv2

        height, width = self._stored
        scale = max(height, width, long_side) / long_side
        h, w = max(round(height / scale), 1), max(round(width / scale), 1)
        total = np.zeros((h, w * 3), np.float32)
        for top in range(0, height, ROWS):
            rows = self._rows(top, min(top + ROWS, height))
            narrow = cv2.resize(rows, (w, len(rows)), interpolation=cv2.INTER_AREA).reshape(len(rows), -1)
            edges = np.arange(top, top + len(rows) + 1) * (h / height)  # of the rows, in rows of the result
            first, last = int(edges[0]), min(int(np.ceil(edges[-1])), h)
            out = np.arange(first, last)[:, None]
            shares = np.minimum(edges[1:], out + 1) - np.maximum(edges[:-1], out)
            total[first:last] += shares.clip(0).astype(np.float32) @ narrow.astype(np.float32)
        return turned((total + 0.5).clip(0, 255).astype(np.uint8).reshape(h, w, 3), self._orientation)

    def _in_file(self, x1: int, y1: int, x2: int, y2: int) -> tuple[int, int, int, int]:
        """A region of the turned picture as left, top, right, bottom of the stored one."""
        height, width, _ = self.shape
        if self._orientation in (2, 3, 6, 7):  # in these the first stored column, or row, is the last one seen
            x1, x2 = width - x2, width - x1
        if self._orientation in (3, 4, 7, 8):
            y1, y2 = height - y2, height - y1
        if self._orientation >= 5:
            x1, y1, x2, y2 = y1, x1, y2, x2
        return x1, y1, x2, y2

    def _open(self) -> None:
        """Begin the decoding at the first row."""
        vips = _vips()
        try:
            self._image = getattr(vips.Image, _LOADERS[self._kind])(
                self.path, access="sequential", fail_on=_FAIL_ON.get(self._kind, "error"), revalidate=True
            )
            fields = set(self._image.get_fields())
        except vips.Error as error:
            raise self._damaged(error) from None
        if (self._image.height, self._image.width) != self._stored:
            raise ImageError(self.path, f"damaged {self._kind}: its header declares another size than its image has")
        if "interlaced" in fields:  # all of it must be decoded before the first row is complete
            name = "an interlaced PNG" if self._kind == "PNG" else f"a progressive {self._kind}"
            raise ImageError(self.path, f"{name} is not read in strips: convert it to a tiled TIFF or a baseline JPEG")
        if self._image.interpretation not in _COLOURS:
            raise ImageError(self.path, f"{self._image.interpretation} colours are not read in strips: convert to RGB")
        self._region = vips.Region.new(self._image)
        self._first, self._strip = 0, np.empty((0, self._stored[1], 3), np.uint8)  # the rows in memory

    def _rows(self, top: int, bottom: int) -> Image:
        """The stored rows top <= y < bottom, (bottom - top, W, 3) BGR."""
        needed = (bottom - top) * self._stored[1] * 3
        if needed > MAX_STRIP_BYTES:
            raise ImageError(
                self.path,
                f"{bottom - top} rows of {self._stored[1]} pixels take {needed >> 20} MiB, more than the "
                f"{MAX_STRIP_BYTES >> 20} MiB of a strip; choose a smaller tile",
            )
        if top < self._first:
            self._open()
        if bottom > self._first + len(self._strip):
            self._read_on(top, bottom)
        return self._strip[top - self._first : bottom - self._first]

    def _read_on(self, top: int, bottom: int) -> None:
        """Decode up to row `bottom`, and forget the rows above `top`."""
        end = self._first + len(self._strip)
        strip = np.empty((bottom - top, self._stored[1], 3), np.uint8)
        kept = max(end - top, 0)
        strip[:kept] = self._strip[len(self._strip) - kept :]
        self._strip = strip[:0]  # so that the old one is free now
        for y in range(end, bottom, ROWS):
            rows = self._decoded(y, min(ROWS, bottom - y))
            skipped = max(top - y, 0)
            if skipped < len(rows):
                strip[y + skipped - top : y - top + len(rows)] = rows[skipped:]
        self._first, self._strip = top, strip

    def _decoded(self, y: int, count: int) -> Image:
        """The next `count` stored rows, the first of which is `y`, in BGR."""
        image, vips = self._image, _vips()
        try:
            data = self._region.fetch(0, y, image.width, count)
        except vips.Error as error:
            raise self._damaged(error) from None
        rows = np.ndarray((count, image.width, image.bands), _TYPES[image.format], data)
        rows = rows[..., 2::-1] if image.bands >= 3 else rows[..., :1].repeat(3, axis=2)
        if rows.dtype == np.uint16:
            rows = rows >> 8
        elif rows.dtype != np.uint8:
            rows = np.clip(np.nan_to_num(rows), 0, 1) * 255 + 0.5
        return rows.astype(np.uint8, copy=False)

    def _damaged(self, error: Exception) -> ImageError:
        reason = str(getattr(error, "detail", error)).strip().splitlines() or ["no reason given"]
        return ImageError(self.path, f"damaged or truncated {self._kind} ({one_line(reason[-1])})")


_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}


def can_read_strips() -> bool:
    """Whether pyvips is installed."""
    try:
        _vips()
    except PoseError:
        return False
    return True


def _vips() -> Any:
    """The module pyvips; PoseError with the remedy where it is missing, or finds no libvips."""
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise PoseError(f"a picture is read in strips by pyvips ({one_line(error)}): {INSTALL}") from None
    return pyvips
