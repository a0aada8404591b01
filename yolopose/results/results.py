"""Results: everything found in one image, to index, draw and write."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from yolopose.draw.blur import Hidden
from yolopose.errors import PoseError, printable
from yolopose.files import write_text
from yolopose.geometry.keypoints import COCO_17, KeypointLayout, default_layout
from yolopose.images.files import ImageTooLarge, read_image, write_image
from yolopose.results.arrays import Boxes, Keypoints
from yolopose.results.crops import aligned_faces, write_crops
from yolopose.results.serialise import Exports, label_lines, summary_rows
from yolopose.sources.files import is_image

Image = NDArray[np.uint8]

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # formats that OpenCV writes


class Results(Exports):
    """The instances found in one image (H, W, 3) BGR: `boxes` (N, 6 or 7) and `keypoints` (N, K, D), empty when N is 0.

    Coordinates are pixels of the original image. `orig_img` is None when the image was not kept; pictures and crops
    then read the file at `path` again, which predict gives from the root. `speed` holds milliseconds per image.
    After tracking, `boxes` carry ids; with `smooth` `keypoints` are smoothed, `raw_keypoints` those that were detected,
    and with smooth="offline" `filled` (N, K) bool tells which keypoints were filled in; otherwise both are None.
    After predict or track with blur `orig_img` is blurred, and `hidden` tells where.
    `masks`, `probs` and `obb` are always None. Arrays are torch tensors on the CPU when torch is imported, see
    `yolopose.results.arrays`; writing into them changes the result.

    >>> import numpy as np
    >>> image = np.zeros((200, 100, 3), np.uint8)
    >>> boxes = [[10, 20, 50, 100, 0.9, 0], [0, 0, 20, 20, 0.4, 1]]
    >>> result = Results(image, "photo.jpg", {0: "person", 1: "dog"}, boxes)
    >>> len(result), result.verbose()
    (2, '1 person, 1 dog, ')
    >>> sure = result[result.boxes.conf > 0.5]
    >>> sure.summary()[0]["box"]
    {'x1': 10.0, 'y1': 20.0, 'x2': 50.0, 'y2': 100.0}
    >>> result.plot().shape
    (200, 100, 3)
    """

    masks = None
    probs = None
    obb = None
    raw_keypoints: Keypoints | None = None
    filled: NDArray[np.bool_] | None = None
    hidden: Hidden | None = None

    def __init__(
        self,
        orig_img: Image | None,
        path: str | Path,
        names: Mapping[int, str],
        boxes: Any = None,
        keypoints: Any = None,
        speed: Mapping[str, float] | None = None,
        *,
        layout: KeypointLayout | None = None,
        orig_shape: tuple[int, int] | None = None,
        save_dir: str | Path | None = None,
    ) -> None:
        """Wrap arrays or tensors; contiguous float32 in host memory is not copied.

        Raises:
            PoseError: arrays of the wrong shape, or keypoints that do not match boxes or layout.
        """
        if orig_shape is None:
            if orig_img is None:
                raise PoseError("Results needs orig_img, or orig_shape=(H, W) when the image is not kept")
            orig_shape = (orig_img.shape[0], orig_img.shape[1])
        self.orig_img = orig_img
        self.orig_shape = orig_shape
        self.path = str(path)
        self.names = names
        self.speed = {"preprocess": 0.0, "inference": 0.0, "postprocess": 0.0} if speed is None else dict(speed)
        self.save_dir = save_dir
        self.boxes = Boxes(np.empty((0, 6), np.float32) if boxes is None else boxes, orig_shape)
        if keypoints is None:
            keypoints = np.empty((0, *(layout or COCO_17).shape), np.float32)
        self.keypoints = Keypoints(keypoints, orig_shape)
        k, d = self.keypoints.shape[1:]
        self.layout = layout or default_layout((k, d))
        check_pairs(self.boxes, self.keypoints, self.layout)

    def _with(self, change: Callable[[Any], Any]) -> Self:
        """A copy with `boxes`, `keypoints` and `raw_keypoints` changed by a function."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.boxes, other.keypoints, other.speed = change(self.boxes), change(self.keypoints), dict(self.speed)
        if self.raw_keypoints is not None:
            other.raw_keypoints = change(self.raw_keypoints)
        return other

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Self:
        """Instances chosen by an int, a slice, a mask or indices."""
        other = self._with(lambda array: array[index] if len(array) or array is self.boxes else array)
        if self.filled is not None:
            rows = index.detach().cpu().numpy() if hasattr(index, "detach") else index
            other.filled = self.filled[rows].reshape(-1, self.filled.shape[1])
        return other

    def __iter__(self) -> Iterator[Self]:
        """One instance at a time."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"Results(path={self.path!r}, orig_shape={self.orig_shape}, boxes={self.boxes.shape}, "
            f"keypoints={self.keypoints.shape}, names={self.names}, speed={self.speed})"
        )

    def new(self) -> Self:
        """The same image with nothing found in it."""
        return self[:0]

    def update(self, boxes: Any = None, keypoints: Any = None) -> None:
        """Replace boxes, keypoints or both, in place.

        Raises:
            PoseError: what is new does not match what stays; nothing has changed then.
        """
        new = self.boxes if boxes is None else Boxes(boxes, self.orig_shape)
        points = self.keypoints if keypoints is None else Keypoints(keypoints, self.orig_shape)
        check_pairs(new, points, self.layout)
        self.boxes, self.keypoints = new, points

    def cpu(self) -> Self:
        """With tensors on the CPU; what `numpy` gave stays."""
        return self._with(lambda array: array.cpu())

    def numpy(self) -> Self:
        """With NumPy arrays."""
        return self._with(lambda array: array.numpy())

    def cuda(self, *args: Any, **options: Any) -> Self:
        """With tensors on the GPU; without torch there is none, and nothing changes."""
        return self._with(lambda array: array.cuda(*args, **options))

    def to(self, *args: Any, **options: Any) -> Self:
        """With tensors on a device or of a dtype, as `torch.Tensor.to` takes them."""
        return self._with(lambda array: array.to(*args, **options))

    def name(self, cls: int) -> str:
        """The name of a class, or its number when it has none."""
        return self.names.get(cls, str(cls))

    def verbose(self) -> str:
        """How many of each class, for a log line: `4 persons, 1 dog, `, or `(no detections), `."""
        if not len(self):
            return "(no detections), "
        counts = sorted(Counter(int(c) for c in self.boxes.table[:, -1].tolist()).items())
        return "".join(f"{n} {printable(self.name(cls))}{'s' * (n > 1)}, " for cls, n in counts)

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """One dict of JSON types per instance: name, class, confidence, box, track_id when tracked, keypoints."""
        return summary_rows(self.boxes, self.keypoints, self.names, normalize=normalize, decimals=decimals)

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Write one label row per instance, `cls cx cy w h [px py [v]]… [conf] [id]`, normalised; return the path.

        An older file is replaced. Without instances no file is begun, but an older one is emptied.
        """
        path = Path(txt_file)
        lines = label_lines(self.boxes, self.keypoints, save_conf=save_conf)
        if lines or path.exists():
            write_text(path, "".join(f"{line}\n" for line in lines))
        return str(path)

    def save_crop(self, save_dir: str | Path, file_name: str | Path = "im.jpg") -> None:
        """Write each box's part of the image as `save_dir/<class name>/im.jpg`, `im2.jpg`, …; older files stay.

        After tracking each track has a folder of its own: `save_dir/<class name>/id_<track>/im.jpg`.
        """
        write_crops(self.image(), self.boxes, self.name, Path(save_dir), Path(file_name).stem)

    def align(self, size: int = 112) -> Image:
        """The upright faces for face recognition: (N, size, size, 3) BGR.

        A similarity transform (Umeyama) maps the five landmarks to ArcFace's 112 x 112 template, scaled to `size`.

        Raises:
            PoseError: not five keypoints, a face whose landmarks coincide, or the image is gone.
        """
        if self.keypoints.shape[1] != 5:
            raise PoseError(f"align needs the five landmarks of faces, these results have {self.keypoints.shape[1]}")
        if size < 1:
            raise PoseError(f"align: size must be at least 1 pixel, got {size}")
        return aligned_faces(self.image(), self.keypoints.table, size)

    def image(self) -> Image:
        """The original image (H, W, 3) BGR, read again from `path` when it was not kept.

        Raises:
            PoseError: `path` is not an image file, is gone, or has an image of another size.
        """
        return _read_again(self.path, self.orig_shape, self.hidden) if self.orig_img is None else self.orig_img

    def hide(self, hidden: Hidden) -> None:
        """Blur regions of the image in everything that is drawn, shown or written from now on, and in `orig_img`."""
        self.hidden = hidden
        if self.orig_img is not None:
            self.orig_img = hidden.apply(self.orig_img)

    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str | None = None,
        pil: bool = False,
        img: Any = None,
        im_gpu: object = None,
        kpt_radius: float | None = None,
        kpt_line: bool = True,
        labels: bool = True,
        boxes: bool = True,
        masks: bool = True,
        probs: bool = True,
        show: bool = False,
        save: bool = False,
        filename: str | Path | None = None,
        color_mode: str = "class",
        txt_color: object = None,
        *,
        kpt_conf: float = 0.25,
    ) -> Any:
        """A copy of the image, or of `img`, with what was found drawn on it: (H, W, 3) BGR, with `pil` a PIL image.

        `yolopose.draw.DrawStyle` describes the options. With `show` the picture is also shown, with `save` also written
        to `filename`. `im_gpu`, `masks`, `probs` and `txt_color` are for masks and class scores and change nothing.
        """
        from yolopose.draw import DrawStyle, draw_instances
        from yolopose.images import to_bgr

        style = DrawStyle(
            boxes=boxes, labels=labels, conf=conf, line_width=line_width, font_size=font_size, font=font,
            kpt_radius=kpt_radius, kpt_line=kpt_line, kpt_conf=kpt_conf, color_mode=color_mode,
        )  # fmt: skip
        image = self.image() if img is None else to_bgr(img)[0]
        picture = draw_instances(image, self.boxes.table, self.keypoints.table, self.layout, self.names, style)
        if save:
            write_image(picture, self._picture_path(filename))
        if show:
            show_picture(picture, self.path)
        if pil:
            from PIL import Image as PilImage

            return PilImage.fromarray(np.ascontiguousarray(picture[..., ::-1]))
        return picture

    def save(self, filename: str | Path | None = None, **options: Any) -> str:
        """Write `plot(**options)` to `filename`, by default `results_<name>` in the working folder; return the path."""
        self.plot(**options, save=True, filename=filename)
        return str(self._picture_path(filename))

    def _picture_path(self, filename: str | Path | None) -> Path:
        """`filename`, or for None `results_<name>` of the source, in the working folder."""
        return Path(filename or f"results_{Path(self.path).stem or 'image'}{picture_suffix(self.path)}")

    def show(self, **options: Any) -> None:
        """Show `plot(**options)` in a window or notebook. Raises PoseError where there is no display."""
        self.plot(**options, show=True)


def check_pairs(boxes: Boxes, keypoints: Keypoints, layout: KeypointLayout) -> None:
    """Raise PoseError unless keypoints are of as many instances as boxes, or of none, and of the layout's K points."""
    if len(keypoints) not in (0, len(boxes)):
        raise PoseError(
            f"{len(boxes)} boxes but keypoints of {len(keypoints)} instances: give both, or choose instances by "
            "indexing the result"
        )
    if keypoints.shape[1] != layout.shape[0]:
        raise PoseError(f"{keypoints.shape[1]} keypoints, but the layout has {layout.shape[0]}")


def picture_suffix(source: str) -> str:
    """The format in which the picture of a source is written: its own if OpenCV writes that, otherwise `.jpg`."""
    suffix = Path(source).suffix.lower()
    return suffix if suffix in PICTURES else ".jpg"


def show_picture(image: Image, title: str) -> None:
    """Show (H, W, 3) BGR in a notebook or a window; the window waits for a key when `title` is an image file.

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
        cv2.waitKey(0 if is_image(title) else 1)
    except cv2.error:
        raise PoseError(f"cannot show: opencv-python-headless has no windows; {remedy}") from None


def _read_again(path: str, shape: tuple[int, int], hidden: Hidden | None) -> Image:
    """The image file at `path`, which must still have `shape` (H, W), blurred as before."""
    remedy = "; predict with keep_image=True to keep the images"
    if not is_image(path):
        raise PoseError(f"{path}: the image was not kept, and this is no image file to read again{remedy}")
    try:
        image = read_image(path)
    except ImageTooLarge:
        w, h = shape[1], shape[0]
        raise PoseError(f"{path}: {w}x{h} pixels are not drawn or cropped; save=True draws a reduced picture") from None
    except PoseError as error:
        raise PoseError(f"{error} (the image was not kept{remedy})") from None
    if image.shape[:2] != shape:
        now, then = (f"{w}x{h}" for h, w in (image.shape[:2], shape))
        raise PoseError(f"{path}: has changed since it was predicted, from {then} to {now} pixels{remedy}")
    return image if hidden is None else hidden.apply(image)
