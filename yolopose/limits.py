"""Upper limits for every count and size that a file may declare, and checks of values read from files.

A limit is far above any real use and far below what would exhaust a machine. Only the caller may raise one, by an
argument (`max_pixels`), never the file itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from yolopose.errors import PoseError, shown

MAX_PIXELS = 1 << 28  # of one image, before it is decoded: 16,384 x 16,384
MAX_IMAGE_BYTES = 1 << 31  # of one image file
MAX_TILES = 1 << 20  # of one picture
MAX_STRIP_PIXELS = 1 << 32  # of one image that is decoded strip by strip: 65,536 x 65,536
MAX_STRIP_BYTES = 1 << 28  # of the rows of such an image that are in memory
MAX_PIPED = 1 << 28  # bytes of one image on standard input
MAX_HEADER_BYTES = 1 << 25  # of an image, before its pixels
MAX_HEADER_READS = 10_000  # of one image header
MAX_TAG_VALUES = 1 << 20  # of one TIFF tag; chunks of one PNG
MAX_KEYPOINTS = 10_000  # per instance
MAX_EDGES = 100_000  # lines of a skeleton
MAX_SIGMA = 1000.0  # of OKS; COCO's are below 0.11
MAX_CLASSES = 100_000
MAX_STRIDE = 1024
MAX_SIDE = 1 << 16  # of a network's input, in pixels
MAX_BATCH = 1 << 16  # of a file with a fixed batch
MAX_ROWS = 1000  # of a model YAML, and of repeats in one of them
MAX_LAYERS = 2000  # rows, repeats counted
MAX_ARGUMENTS = 64  # of a row, and entries of a list among them
MAX_CHANNELS = 1 << 16
MAX_MULTIPLE = 100.0  # of depth or width
MAX_PARAMETERS = 200_000_000  # the largest YOLOv8-pose has half of it
MAX_TEXT = 1 << 16  # characters of a name or other text in metadata
MAX_NAME = 40  # characters of a class name in a picture or plot
MAX_ARGUMENT_VALUES = 10_000  # elements of an array given for an argument
MAX_YAML = 2 << 20  # bytes of a YAML file
MAX_YAML_NODES = 150_000  # entries in it, with references expanded
MAX_YAML_DEPTH = 64
MAX_YAML_NUMBER = 400  # characters of a value in it that is not text
MAX_YAML_KEY = 18  # digits of an integer key: longer ones can be chosen to have the same hash
MAX_METADATA = 4 << 20  # bytes of the metadata of an exported file
MAX_ENGINE_METADATA = 1 << 20  # of a TensorRT file; one whose first number is larger is a bare engine
MAX_RESPONSE_HEADER = 1 << 20  # bytes of a web server's response headers, with interim responses and redirects
MAX_DOWNLOAD = 1 << 36  # bytes of a downloaded file: 64 GiB
MAX_UNANNOUNCED = 1 << 32  # bytes of a downloaded file if the server does not send its length
MAX_ARCHIVE_INDEX = 1 << 26  # bytes of a .zip file's list of entries
MAX_ENTRIES = 1 << 20  # files of a .zip file
MAX_UNPACKED = 1 << 38  # bytes of all files of a .zip file: 256 GiB
MAX_EXPANSION = 100  # ratio of a .zip file's unpacked size to its own
MAX_UNPACKED_FREELY = 1 << 26  # bytes of unpacked contents that are allowed at any ratio
MAX_PATH_PARTS = 64  # folders in the path of a file in a .zip file
MAX_COUNT = 1 << 48  # epochs, batches or updates in the state of a run
MAX_CSV = 1 << 26  # bytes of a run's results.csv: 200,000 epochs
MAX_TRACKS = 1 << 30  # bytes of a file of tracks: some ten million rows of boxes
MAX_FOLDERS = 100_000  # below one folder of images
MAX_LIST_BYTES = 1 << 28  # of a text file that names images
MAX_LABEL_BYTES = 1 << 24  # of one image's label file
MAX_BAD_ROWS = 1000  # of one label file that are reported
MAX_WEIGHTS = 1 << 31  # bytes of downloaded weights
MAX_ARCHIVE_READ = 4 << 20  # bytes read of a checkpoint in one call; zipfile reads an archive's whole directory in one
MAX_PICKLE = 32 << 20  # bytes of the pickle in a checkpoint; that of a training of the largest network has about 0.4 MB
MAX_OPCODES = 1_000_000  # of that pickle, which has about 150,000
MAX_COPIES = 1_000_000  # elements copied by its constructors: a memoised list could be copied many times
MAX_INTEGER_BITS = 256  # of a number in a file; the state of a random generator has 128
MAX_IDENTIFIER = 200  # characters of a class's module and name, and of a layer's name
MAX_AXIS = 1 << 40  # of a tensor along one axis
MAX_MODULES = 100_000  # layers, parameters and buffers of a checkpoint in total,
MAX_MODULE_DEPTH = 32  # and their nesting
MAX_CHECKPOINT_NODES = 1_000_000  # values in a checkpoint,
MAX_CHECKPOINT_DEPTH = 64  # and their nesting
MAX_CHECKPOINT_TEXT = 1 << 20  # characters of text in it, or four times its size if that is more


def int_of(value: Any, name: str, low: int, high: int) -> int:
    """`value` as an int from `low` to `high`; error messages name the entry `name`.

    Raises:
        PoseError: not a whole number, or out of bounds.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PoseError(f"{name} must be a whole number, got {shown(value)}")
    if not low <= value <= high:
        raise PoseError(f"{name} must be from {low} to {high}, got {shown(value)}")
    return value


def float_of(value: Any, name: str, low: float, high: float) -> float:
    """`value` as a finite float from `low` to `high`; raises PoseError as `int_of` does."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # NaN neither
        raise PoseError(f"{name} must be a number from {low:g} to {high:g}, got {shown(value)}")
    return float(value)


def list_of(value: Any, name: str, low: int, high: int) -> Sequence[Any]:
    """`value`, a list or tuple of `low` to `high` entries.

    Raises:
        PoseError: something else, or another count.
    """
    if not isinstance(value, list | tuple):
        raise PoseError(f"{name} must be a list, got {shown(value)}")
    if not low <= len(value) <= high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        raise PoseError(f"{name} must have {wanted} entries, has {len(value)}")
    return value


def text_of(value: Any, name: str) -> str:
    """`value` as text of at most `MAX_TEXT` characters; YAML reads some words as numbers or dates.

    Raises:
        PoseError: something else, or too long.
    """
    small = isinstance(value, int) and value.bit_length() <= MAX_INTEGER_BITS
    if small or value is None or isinstance(value, float | date):
        return str(value)
    if not isinstance(value, str) or len(value) > MAX_TEXT or not is_unicode(value):
        raise PoseError(f"{name} must be text of at most {MAX_TEXT} characters, got {shown(value)}")
    return value


def is_unicode(value: str) -> bool:
    """Whether `value` can be written to a file: it has no lone surrogates."""
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
