"""The annotation lists of WIDER FACE and RetinaFace: which faces are in which image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from yolopose.convert.rows import Array, finite_numbers
from yolopose.errors import PoseError, one_line, shown

INVALID = 7  # column of the official lists: x y w h blur expression illumination invalid occlusion pose
IGNORED = "faces marked invalid: now boxes to ignore"
POINTS = 5


@dataclass(frozen=True)
class Change:
    """A row or image that was changed or left out: its place in the list, image, change, text before and after."""

    file: Path
    line: int
    image: str
    what: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a list: its line, the text, box x y w h in pixels, landmarks (5, 3) x y flag or None.

    `invalid` faces (too small or blurred to count) are neither faces nor background.
    """

    line: int
    text: str
    box: Array
    points: Array | None = None
    invalid: bool = False


@dataclass(frozen=True, eq=False)
class ListedImage:
    """An image in a list: EVENT/NAME.jpg, its path, where it is listed, its faces."""

    name: str
    path: Path
    file: Path
    line: int
    faces: list[Face] = field(default_factory=list)

    @property
    def event(self) -> str:
        """The folder, such as 0--Parade."""
        return self.name.rpartition("/")[0]


def read_list(file: Path, folder: Path, changes: list[Change], *, retinaface: bool = False) -> dict[str, ListedImage]:
    """The images of a list, by name; rows that are left out are appended to `changes`. `folder` has the images.

    The official `wider_face_*_bbx_gt.txt` has a name, a count, then `x y w h` and six attributes a line; faces marked
    invalid stay, with a note in `changes`. RetinaFace's label.txt has `# NAME`, then `x y w h`, five times `x y flag`
    (-1 where unknown), and blur a line.

    Raises:
        PoseError: the file is missing, starts with a face, has an unsafe name or names no image.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise PoseError(f"{file}: {one_line(getattr(e, 'strerror', None) or e)}") from None
    images: dict[str, ListedImage] = {}
    image: ListedImage | None = None
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line.startswith("#") if retinaface else line.lower().endswith(".jpg"):
            name = line.lstrip("# ").strip() if retinaface else line
            parts = name.split("/")
            if "\\" in name or ":" in name or any(part in ("", "..", ".", "images") for part in parts):
                problem = f"{shown(name)} is no name EVENT/NAME.jpg within the images' folder"
                raise PoseError(f"{file}, line {number}: {problem}")
            image = images.setdefault(name, ListedImage(name, folder / name, file, number))
        elif line and image is None:
            expected = "'# EVENT/NAME.jpg' first" if retinaface else "the name of an image"
            raise PoseError(f"{file}, line {number}: expected {expected}, got {shown(line, 60)}")
        elif line and image is not None and (retinaface or len(line.split()) > 1):  # else the number of faces
            face, problem = _read_face(number, line, retinaface)
            if face is not None:
                image.faces.append(face)
            if problem:
                changes.append(Change(file, number, image.name, problem, line))
    if not images:
        raise PoseError(f"{file}: names no image")
    return images


def _read_face(number: int, line: str, retinaface: bool) -> tuple[Face | None, str]:
    """The face of a line, or None, and what is noted about it; "" for the zeros of an image without a face."""
    numbers = finite_numbers(line.split())
    if numbers is None or len(numbers) < 4 or (retinaface and 4 < len(numbers) < 4 + 3 * POINTS):
        return None, "rows that cannot be read left out"
    if retinaface:
        points = numbers[4 : 4 + 3 * POINTS].reshape(POINTS, 3) if len(numbers) > 4 else None
        return Face(number, line, numbers[:4], points), ""
    if len(numbers) > INVALID and numbers[INVALID] == 1:
        return Face(number, line, numbers[:4], invalid=True), IGNORED
    return (Face(number, line, numbers[:4]) if numbers.any() else None), ""
