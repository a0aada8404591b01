"""Run folders, and the pictures, videos, label files and crops that predict writes."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from yolopose.config import PredictConfig, TrackConfig
from yolopose.console import log
from yolopose.errors import PoseError, printable
from yolopose.files import atomic_path
from yolopose.images.files import write_image
from yolopose.results.results import Results, picture_suffix, show_picture
from yolopose.sources.frame import Frame

if TYPE_CHECKING:
    from yolopose.draw.trails import TrailHistory

Image = NDArray[np.uint8]

RUNS = Path("runs") / "pose"
MAX_STEM = 180  # bytes of a name: file systems take 255, and numbers and suffixes follow
FRAME_RATE = 30.0  # of a video whose source does not state one


def run_folder(project: str | None, name: str | None, mode: str, *, exist_ok: bool = False) -> Path:
    """Make and return `project/name`; if that exists, and not `exist_ok`, the first free of name2, name3 and so on.

    `project` None is runs/pose, `name` None is the mode. Two processes never get the same new folder.

    Raises:
        PoseError: the folder cannot be made.
    """
    base = (Path(project) if project else RUNS) / (name or mode)
    for number in itertools.count(1):
        folder = base.with_name(f"{base.name}{number}") if number > 1 else base
        try:
            folder.mkdir(parents=True, exist_ok=exist_ok)
            break
        except FileExistsError:
            if exist_ok:
                raise PoseError(f"{folder}: is a file, not a folder; choose another project or name") from None
        except OSError as e:
            raise PoseError(f"{folder}: cannot be made: {e.strerror or e}; choose another project or name") from None
    return folder


class Saver(AbstractContextManager["Saver"]):
    """Writes the pictures, videos, label files and crops of results that `config` asks for.

    Files are named after their sources; sources with the same stem become `name`, `name-2`, … so that none is
    overwritten.
    """

    def __init__(self, config: PredictConfig, mode: str = "predict") -> None:
        self.config = config
        self._mode = mode
        self.folder: Path | None = None
        self.labels = 0  # label files written
        self._stems: set[str] = set()
        self._current: dict[int, tuple[int, str]] = {}  # per stream: the current video or stream and its stem
        self._videos: dict[int, VideoFile] = {}
        self._trails: dict[int, tuple[int, TrailHistory]] = {}  # per stream: the current video and its trails

    def __exit__(self, *_: object) -> None:
        for video in self._videos.values():
            video.close()

    def begin(self) -> None:
        """Make the folder if something is to be written; called with the first result, so that no empty one is left.

        Raises PoseError when it cannot be made.
        """
        config = self.config
        if self.folder is None and (config.save or config.save_txt or config.save_crop or config.save_frames):
            self.folder = run_folder(config.project, config.name, self._mode, exist_ok=config.exist_ok)

    def add(self, result: Results, frame: Frame) -> None:
        """Write and show one result; its image must still be there.

        Raises:
            PoseError: something cannot be written, or shown.
        """
        config = self.config
        drawn: Any = None
        if config.save or config.save_frames or config.show:
            drawn = self._drawn(result, frame)
        if self.folder is not None:
            try:
                self._write(result, frame, drawn, self.folder)
            except OSError as e:
                raise PoseError(f"{self.folder}: cannot write: {e.strerror or e}") from None
        if config.show:
            show_picture(drawn, result.path)

    def _drawn(self, result: Results, frame: Frame) -> Image:
        """The picture of a result; tracked ones with colours and trails by track."""
        config, tracked = self.config, result.boxes.is_track
        image = None
        if frame.large is not None:
            result = reduced(result, frame)
        if tracked and isinstance(config, TrackConfig) and config.trails:
            from yolopose.draw.trails import draw_trails

            image = draw_trails(result.image(), self._history(frame).add(result.boxes.table))
        drawn: Image = result.plot(
            conf=config.show_conf, labels=config.show_labels, boxes=config.show_boxes, line_width=config.line_width,
            color_mode="track" if tracked else "class", img=image,
        )  # fmt: skip
        return drawn

    def _history(self, frame: Frame) -> TrailHistory:
        """The trails of the video, stream or photographs that a frame belongs to."""
        from yolopose.draw.trails import TrailHistory

        item = frame.item if frame.kind == "video" else -1
        known = self._trails.get(frame.stream)
        if known is None or known[0] != item:
            known = self._trails[frame.stream] = (item, TrailHistory())
        return known[1]

    def _write(self, result: Results, frame: Frame, drawn: Image | None, folder: Path) -> None:
        """The files of one result."""
        config = self.config
        stem = self._stem(frame)
        numbered = stem if frame.kind == "image" else f"{stem}_{frame.index + 1}"
        if drawn is not None and frame.kind == "image":
            write_image(drawn, folder / f"{stem}{picture_suffix(frame.path)}")
        elif drawn is not None:
            if config.save:
                self._write_video(drawn, frame, folder / f"{stem}.mp4")
            if config.save_frames:
                write_image(drawn, folder / f"{stem}_frames" / f"{frame.index + 1}.jpg")
        if config.save_txt:
            self.labels += len(result) > 0
            result.save_txt(folder / "labels" / f"{numbered}.txt", save_conf=config.save_conf)
        if config.save_crop and frame.large is not None:
            log.warning(f"{printable(frame.path)}: no crops, as it is read in strips")
        elif config.save_crop and len(result):
            result.save_crop(folder / "crops", f"{numbered}.jpg")

    def _stem(self, frame: Frame) -> str:
        """The name without suffix of a frame's source: one for all frames of a video, another for every source."""
        item, stem = self._current.get(frame.stream, (-1, ""))
        if frame.kind == "image" or item != frame.item or not stem:
            plain = "".join(c if c.isalnum() or c in " ._-()+@" else "_" for c in Path(frame.path).stem) or "image"
            plain = plain.encode()[:MAX_STEM].decode(errors="ignore")
            names = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
            stem = next(name for name in names if name.lower() not in self._stems)  # some file systems ignore the case
            self._stems.add(stem.lower())
            self._current[frame.stream] = (frame.item, stem)
        return stem

    def _write_video(self, drawn: Image, frame: Frame, path: Path) -> None:
        """Append to the video file that a frame belongs to; the one before it is closed."""
        video = self._videos.get(frame.stream)
        if video is None or video.path != path:
            if video is not None:
                del self._videos[frame.stream]
                video.close()
            video = self._videos[frame.stream] = VideoFile(path, frame.fps or FRAME_RATE, drawn.shape[1::-1])
        video.write(drawn)


def reduction(frame: Frame) -> NDArray[np.float32]:
    """(4,) pixels of the reduced picture of a frame that is read in strips per pixel of the picture: x y x y."""
    assert frame.image is not None
    assert frame.large is not None
    (h, w), (height, width) = frame.image.shape[:2], frame.large.shape[:2]
    return np.array([w / width, h / height] * 2, np.float32)


def reduced(result: Results, frame: Frame) -> Results:
    """The result of a picture that is read in strips as that of its reduced picture."""
    ratio, boxes, points = reduction(frame), result.numpy().boxes.data.copy(), result.numpy().keypoints.data.copy()
    boxes[:, :4] *= ratio
    points[..., :2] *= ratio[:2]
    return Results(frame.image, result.path, result.names, boxes, points, layout=result.layout)


class VideoFile:
    """An .mp4 file of frames of one `size` (W, H); others are resized. It has a temporary name until it is closed.

    Raises:
        PoseError: OpenCV cannot write the file.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        import cv2

        self.path, self._size, self._naming = path, size, ExitStack()
        part = self._naming.enter_context(atomic_path(path))
        self._writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            with self._naming:
                raise PoseError(f"{path}: this OpenCV cannot write .mp4; use save_frames=True instead of save=True")

    def write(self, image: Image) -> None:
        """Append (H, W, 3) BGR."""
        import cv2

        h, w = image.shape[:2]
        self._writer.write(image if (w, h) == self._size else cv2.resize(image, self._size))

    def close(self) -> None:
        """Complete the file. Raises PoseError when it cannot be written."""
        try:
            with self._naming:
                self._writer.release()
        except OSError as e:
            raise PoseError(f"{self.path}: cannot be written: {e.strerror or e}") from None
