"""Items → frames, one after the other and lazily."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from yolopose.errors import PoseError
from yolopose.images import decode, read_image, to_bgr
from yolopose.images.arrays import picture_family
from yolopose.limits import MAX_DOWNLOAD, MAX_IMAGE_BYTES
from yolopose.sources.files import Item
from yolopose.sources.frame import Frame, SourceOptions
from yolopose.sources.urls import classify, suffix_of_url
from yolopose.sources.video import video_frames


def item_frames(items: list[Item], options: SourceOptions) -> Generator[Frame, None, None]:
    """The frames of all items; what cannot be read becomes a frame with `error`, and the rest goes on."""
    total = sum(item.count for item in items)
    position = 0
    for item in items:
        for frame in _READERS[item.kind](item, options):
            frame.item = position
            frame.file, frame.named = item.kind in ("image", "video"), item.named
            frame.items = total
            if frame.kind == "image":
                frame.item = frame.index = position + frame.index
                frame.total = total
                if item.count > 1:
                    frame.path = f"image{frame.index}.jpg"  # the pictures of a batch are told apart
            yield frame
        position += item.count


def _image(item: Item, options: SourceOptions) -> Iterator[Frame]:
    try:
        yield Frame(read_image(item.value, max_pixels=options.max_pixels), item.name)
    except PoseError as error:
        yield Frame(None, item.name, error=str(error))


def _video(item: Item, options: SourceOptions) -> Iterator[Frame]:
    return video_frames(item.value, options, item.name)


def _url(item: Item, options: SourceOptions) -> Iterator[Frame]:
    """Download into a temporary folder, which is gone when the frames are."""
    import tempfile

    from yolopose.download import download

    with tempfile.TemporaryDirectory(prefix="yolopose-") as folder:
        try:
            kind = classify(item.value)
            if kind == "stream":
                raise PoseError(f"{item.name}: a stream among files; name it alone or in a .streams file")
            most = MAX_DOWNLOAD if kind == "video" else MAX_IMAGE_BYTES
            path = download(
                item.value, Path(folder) / f"source.{suffix_of_url(item.value)}", most=most, progress=kind == "video"
            )
        except PoseError as error:
            yield Frame(None, item.name, error=str(error))
            return
        reader = _video if kind == "video" else _image
        for frame in reader(Item(kind, str(path), item.name), options):
            frame.error = frame.error and frame.error.replace(str(path), item.name)
            yield frame


def _picture(item: Item, options: SourceOptions) -> Iterator[Frame]:
    """A picture or batch in memory; one of a wrong shape or type is the caller's mistake and raises."""
    exact = picture_family(item.value) == "torch"
    for index, image in enumerate(to_bgr(item.value, item.name)):
        yield Frame(image, item.name, index=index, exact=exact)


def _bytes(item: Item, options: SourceOptions) -> Iterator[Frame]:
    try:
        yield Frame(decode(item.value, item.name, max_pixels=options.max_pixels), item.name)
    except PoseError as error:
        yield Frame(None, item.name, error=str(error))


def _error(item: Item, options: SourceOptions) -> Iterator[Frame]:
    yield Frame(None, item.name, error=item.value)


_READERS: dict[str, Callable[[Item, SourceOptions], Iterator[Frame]]] = {
    "image": _image,
    "video": _video,
    "url": _url,
    "picture": _picture,
    "bytes": _bytes,
    "error": _error,
}
