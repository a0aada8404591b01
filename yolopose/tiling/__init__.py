"""Detection on large pictures: tiles through `detect`, the whole picture once, and each instance once in the result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import Show
from yolopose.detect import Detections, DetectOptions, detect, letterboxes_for
from yolopose.errors import UsageError
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import Letterbox
from yolopose.tiling.grid import Picture, Region, as_picture, tiles
from yolopose.tiling.merge import View, merge

if TYPE_CHECKING:
    from yolopose.nn.head import Maps


@dataclass(frozen=True, kw_only=True)
class TileOptions(DetectOptions):
    """How pictures are cut into tiles, if at all.

    Attributes:
        tile: side of the square tiles in pixels of the picture; None runs the whole picture only.
        overlap: part of a tile that it shares with its neighbours.
        batch: tiles per call of the network.
        imgsz: long side of the network's input, or (H, W), for the tiles and the whole picture. With None tiles keep
            their own size and the whole picture gets the model's own size.
    """

    tile: int | None = None
    overlap: float = 0.2
    batch: int = 1

    def check(self, backend: Backend, given: frozenset[str]) -> None:
        """Raise UsageError where the tiles do not go with the model or with the other arguments, of which `given`."""
        if self.tile is None:
            if "overlap" in given:
                raise UsageError(f"overlap={self.overlap:g} is that of tiles: name their size too, such as tile=640")
            return
        if self.rules.one_size:
            raise UsageError(f"tile={self.tile} does not go with compat=True: Ultralytics 8.3 has no tiles")
        if self.tile < backend.info.stride:
            raise UsageError(f"tile={self.tile}: smaller than the stride of this model, {backend.info.stride}")


def find(
    backend: Backend,
    images: Sequence[Any],
    options: TileOptions,
    *,
    letterboxes: Sequence[Letterbox] | None = None,
    observe: Callable[[Maps, list[int]], None] | None = None,
    show: Show | None = None,
) -> list[Detections]:
    """The instances in each image, an (H, W, 3) BGR array or a `grid.Picture`; with `options.tile` in tiles.

    `letterboxes` and `observe` are those of `detect`, for images that are not cut. `show` is told how many tiles of an
    image are done, and of how many.
    """
    if options.tile is None:
        return detect(backend, images, options, letterboxes=letterboxes, observe=observe)
    out = []
    for i, image in enumerate(images):
        if max(image.shape[:2]) <= options.tile:  # the one tile is the picture: run it as without tiles
            whole = as_picture(image).region(0, 0, image.shape[1], image.shape[0])
            box = None if letterboxes is None else letterboxes[i : i + 1]
            out += detect(backend, [whole], options, letterboxes=box)
        else:
            out.append(detect_tiled(backend, as_picture(image), options, show))
    return out


def detect_tiled(backend: Backend, picture: Picture, options: TileOptions, show: Show | None = None) -> Detections:
    """The instances in a picture by its tiles and the whole of it, each once, in pixels of the picture.

    One batch of tiles is in memory at a time, and what was found in the others. `speed` is the sum of all tiles,
    `shape` the input of the network for a tile.
    """
    hw = picture.shape[0], picture.shape[1]
    side = options.tile or max(hw)
    cells = tiles(hw, side, options.overlap)
    views: list[View] = []
    speed: Counter[str] = Counter()
    shape = (1, 3, 0, 0)
    waiting = (cells[i] for i in picture.order(cells))
    while regions := list(islice(waiting, options.batch)):
        boxes = _letterboxes(backend, regions, hw, options)
        found = detect(backend, [picture.region(*region) for region in regions], options, letterboxes=boxes)
        for region, box, one in zip(regions, boxes, found, strict=True):
            views.append(View(region, min(box.scale), one.boxes, one.keypoints))
            speed.update(one.speed)
            shape = one.shape
        if show is not None:
            show(len(views), len(cells) + 1)
    whole = _whole(backend, picture, options)
    speed.update(whole.speed)
    if show is not None:
        show(len(cells) + 1, len(cells) + 1)
    start = time.perf_counter()
    views.append(View(None, 0.0, whole.boxes, whole.keypoints))
    merged = merge(views, hw, options, backend.info.layout.sigmas)
    speed["postprocess"] += (time.perf_counter() - start) * 1e3  # type: ignore[assignment]
    return Detections(*merged, dict(speed), shape)


def _letterboxes(
    backend: Backend, regions: Sequence[Region], hw: tuple[int, int], options: TileOptions
) -> list[Letterbox]:
    """The letterbox of each tile of a picture (H, W); it maps back to pixels of the picture."""
    sizes = [(y2 - y1, x2 - x1) for x1, y1, x2, y2 in regions]
    sized = replace(options, imgsz=options.tile if options.imgsz is None else options.imgsz)
    boxes = letterboxes_for(backend, sizes, sized)
    return [box.of_part(region[:2], hw) for box, region in zip(boxes, regions, strict=True)]


def _whole(backend: Backend, picture: Picture, options: TileOptions) -> Detections:
    """What is found in the whole picture, in its pixels; `reduced` may have returned a smaller one."""
    h, w = picture.shape[:2]
    image = picture.reduced(max(letterboxes_for(backend, [(h, w)], options)[0].size))
    (found,) = detect(backend, [image], options)
    ratio = np.array([w / image.shape[1], h / image.shape[0]], np.float32)
    found.boxes[:, :4] *= np.tile(ratio, 2)
    found.keypoints[..., :2] *= ratio
    return found
