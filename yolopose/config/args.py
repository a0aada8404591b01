"""The arguments of every mode, with the names and defaults of Ultralytics 8.3."""

from dataclasses import dataclass, field
from typing import Any

from yolopose.limits import MAX_PIXELS

ImageSize = int | tuple[int, int]
Indices = tuple[int, ...] | None
UNIT = {"low": 0.0, "high": 1.0}
TILE_SIDES = {"low": 32, "high": 1 << 16}
OVERLAPS = {"low": 0.0, "high": 0.9}  # above, tiles are far too many
SPLITS = ("train", "val", "test")

# Texts of arguments that several modes have, and long ones
BF16 = "compute in bfloat16 on CPUs that can (AVX512-BF16, AMX); decoding stays 32-bit"
CROP = "probability of a sample from a random square of one image instead of a mosaic or the whole image"
CROP_RANGE = "with crop: smallest and largest side of the square, as a factor of the image's short side"
COPY_PASTE = "probability of pasting instances of other images, with their keypoints, at other sizes"
DATA = "data set YAML, such as coco8-pose.yaml"
DATA_DIR = "folder to look for the data set in, and to download it to, if its own path does not exist"
DEVICE = "cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one"
IMGSZ = "input size in pixels: the long side, or height,width; None is the size stored in the model"
FIXED_IMGSZ = "input size in pixels: square side, or height,width; None is the size stored in the model"
LARGEST_IMAGE = "images with more pixels are not decoded and count as unreadable"
BLUR = "head or box: make these unrecognisable in all pictures; whoever is not found stays visible"
BLUR_STYLE = "how: large pixels, a Gaussian, or one colour"
METRIC = "yolo: mAP like Ultralytics 8.3; coco: like pycocotools; widerface: easy, medium, hard; landmarks: NME, PCK"
MODEL = "model file (.pt, .onnx, …, .yaml), or a bundled or published name; None is the bundled default"
NO_FILE_NAME = "no effect: out names the file"
OVERLAP = "with tile: part of a tile that its neighbours show too"
RESIZE = "imgsz: long side to imgsz; original: no resizing; multi: 1, 1.5 and 2 times imgsz, merged"
SAVE_CONF = "add confidences to the label files"
SAVE_TRACKS = "file of all tracks to write: .csv, .json, .parquet, or .txt (MOTChallenge)"
SINGLE_CLS = "treat all classes as one"
SMOOTH = "steady keypoints: True filters without look-ahead, offline reads a recorded video twice and adds no delay"
SPLIT = "part of the data set"
START = "weights to start from (.pt, a bundled or published name), or an architecture (.yaml)"
STRICT = "stop at the first invalid label row instead of skipping it"
THREADS = "CPU threads of the runtime; None lets the runtime decide"
TILE = "cut pictures into square tiles with this side in pixels, and add the whole picture; None does not"
TRACKER = "pose, bytetrack, botsort, or a YAML file of your own; None is pose, with compat=True botsort"


def arg(default: Any, doc: str, **rules: Any) -> Any:
    """Declare a field of a configuration: its default, documentation, and other fields of `argument.Argument`."""
    return field(default=default, metadata={"doc": doc, **rules})


@dataclass(frozen=True, kw_only=True)
class Given:
    """Base of all modes' arguments: `given` holds the names of those that the user set."""

    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class RunArgs(Given):
    """Arguments that predict, val, train and export share."""

    model: str | None = arg(None, MODEL)
    device: str | None = arg(None, DEVICE, form="device")
    half: bool = arg(False, "compute in 16-bit floats where the device can; decoding stays 32-bit")
    project: str | None = arg(None, "folder for run folders; None is runs/pose")
    name: str | None = arg(None, "name of the run folder inside project; None is the mode's name")
    exist_ok: bool = arg(False, "write into an existing run folder instead of making a new, numbered one")
    verbose: bool = arg(True, "print progress and results")
    compat: bool = arg(False, "follow the rules of Ultralytics 8.3 (docs/compat.md) instead of the better ones")


@dataclass(frozen=True, kw_only=True)
class DetectArgs:
    """Arguments that predict and val share: opening the model, non-maximum suppression."""

    iou: float = arg(0.7, "IoU above which non-maximum suppression (NMS) drops a box", **UNIT)
    max_det: int = arg(300, "most detections per image", low=1)
    agnostic_nms: bool = arg(False, "NMS also between boxes of different classes")
    classes: Indices = arg(None, "class indices to keep; None keeps all", low=0)
    tile: int | None = arg(None, TILE, **TILE_SIDES)
    overlap: float = arg(0.2, OVERLAP, **OVERLAPS)
    bf16: bool = arg(False, BF16)
    max_pixels: int = arg(MAX_PIXELS, LARGEST_IMAGE, low=1)
    threads: int | None = arg(None, THREADS, low=1)
    kpt_shape: tuple[int, int] | None = arg(None, "K,D (keypoints, values) of an ONNX file without metadata", low=2)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(RunArgs, DetectArgs):
    """Find instances and keypoints in images, videos and streams; draw and write them."""

    source: Any = arg(None, "image, video, folder, glob, list, URL, stream, camera number, screen, array, - (stdin)")
    conf: float = arg(0.25, "lowest confidence of a detection", **UNIT)
    imgsz: ImageSize | None = arg(None, IMGSZ, low=32)
    rect: bool = arg(True, "no effect, as in Ultralytics 8.3: images are always padded only to multiples of the stride")
    batch: int = arg(1, "images per call of the network", low=1)
    vid_stride: int = arg(1, "use every n-th frame of a video", low=1)
    stream_buffer: bool = arg(False, "process all frames of a stream in order instead of only the newest")
    missing: str = arg("error", "unreadable named file: error raises, skip returns None", choices=("error", "skip"))
    stream: bool = arg(False, "return an iterator instead of a list (Python)")
    keep_image: bool = arg(True, "keep the image in each result; False saves memory")
    save: bool = arg(False, "write annotated images and videos; True on the command line")
    save_frames: bool = arg(False, "write the frames of videos as images")
    save_txt: bool = arg(False, "write a label file for each image")
    save_conf: bool = arg(False, SAVE_CONF)
    save_crop: bool = arg(False, "write a crop of each detection")
    show: bool = arg(False, "show the annotated images in a window; needs a display")
    show_labels: bool = arg(True, "draw class names")
    show_conf: bool = arg(True, "draw confidences")
    show_boxes: bool = arg(True, "draw boxes")
    line_width: int | None = arg(None, "line width in pixels; None scales it with the image", low=1)
    blur: str | None = arg(None, BLUR, choices=("head", "box"))
    blur_style: str = arg("pixelate", BLUR_STYLE, choices=("pixelate", "gaussian", "fill"))


@dataclass(frozen=True, kw_only=True)
class TrackConfig(PredictConfig):
    """Find instances in videos and streams and give each an id that it keeps from frame to frame; draw and write."""

    conf: float = arg(0.1, "lowest confidence of a detection; trackers follow known tracks with unsure ones", **UNIT)
    tracker: str | None = arg(None, TRACKER)
    persist: bool = arg(False, "continue the tracks of the call before: for programs that hand over frame by frame")
    smooth: bool | str = arg(False, SMOOTH, choices=(False, True, "offline"))
    save_tracks: str | None = arg(None, SAVE_TRACKS)
    trails: bool = arg(True, "draw where each instance was in the last 40 frames")


@dataclass(frozen=True, kw_only=True)
class ValConfig(RunArgs, DetectArgs):
    """Measure a model on a labelled data set."""

    data: str | None = arg(None, "data set YAML; None is the one the model was trained on")
    data_dir: str | None = arg(None, DATA_DIR)
    split: str = arg("val", SPLIT, choices=SPLITS)
    conf: float = arg(0.001, "lowest confidence of a detection", **UNIT)
    imgsz: ImageSize | None = arg(None, IMGSZ, low=32)
    rect: bool = arg(True, "pad each image only to a multiple of the stride instead of to the full size")
    batch: int = arg(16, "images per call of the network", low=1)
    workers: int = arg(8, "threads that read images ahead", low=0)
    metric: str = arg("yolo", METRIC, choices=("yolo", "coco", "widerface", "landmarks"))
    prefix: tuple[str, ...] | None = arg(None, "use only images whose file name starts with one of these")
    resize: str = arg("imgsz", RESIZE, choices=("imgsz", "original", "multi"))
    gt: str | None = arg(None, "with metric=widerface: folder of the ground truth .mat files")
    save_widerface: bool = arg(False, "write detections as WIDER FACE result files, EVENT/NAME.txt")
    strict: bool = arg(False, STRICT)
    single_cls: bool = arg(False, SINGLE_CLS)
    per_keypoint: bool = arg(False, "print the errors of each keypoint; report.json always has them")
    save_json: bool = arg(False, "write predictions.json in COCO result format")
    save_txt: bool = arg(False, "write a label file of the detections for each image")
    save_conf: bool = arg(False, SAVE_CONF)
    plots: bool = arg(True, "write curves, confusion matrices and sample images")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunArgs):
    """Train a model on a labelled data set, or resume a run."""

    model: str | None = arg(None, START)
    data: str | None = arg(None, DATA)
    data_dir: str | None = arg(None, DATA_DIR)
    epochs: int = arg(100, "passes over the training images", low=1)
    time: float | None = arg(None, "hours to train; overrides epochs", low=0.0)
    patience: int = arg(100, "stop after this many epochs without better fitness; 0 never stops", low=0)
    batch: float = arg(16, "images per step; -1 fills 60 % of the GPU's memory, 0 to 1 that share", low=-1)
    imgsz: int | None = arg(None, "square input side in pixels; None is the checkpoint's, or 640", low=32)
    max_pixels: int = arg(MAX_PIXELS, LARGEST_IMAGE, low=1)
    save: bool = arg(True, "write checkpoints")
    save_period: int = arg(-1, "also keep a checkpoint every n epochs", low=-1)
    cache: bool | str = arg(False, "cache decoded images in ram or on disk", choices=(False, True, "ram", "disk"))
    cache_dir: str | None = arg(None, "folder for cache=disk; None is the user's cache folder")
    workers: int = arg(8, "processes that load images", low=0)
    pretrained: bool | str = arg(True, "start from the model's weights (True) or another file's (a path or name)")
    teacher: str | None = arg(None, "checkpoint whose detections complete partly labelled images and missing keypoints")
    optimizer: str = arg(
        "auto", "optimizer", choices=("auto", "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp")
    )
    seed: int = arg(0, "seed of all random numbers", low=0)
    deterministic: bool = arg(True, "use reproducible kernels")
    single_cls: bool = arg(False, SINGLE_CLS)
    classes: Indices = arg(None, "class indices to train on; None uses all", low=0)
    rect: bool = arg(False, "batches of images with similar aspect ratio, padded as little as possible")
    cos_lr: bool = arg(False, "cosine instead of linear learning rate schedule")
    close_mosaic: int = arg(10, "train the last n epochs without mosaic, mixup and copy_paste", low=0)
    resume: bool | str = arg(False, "continue a run from its last.pt (True) or from another checkpoint (a path)")
    amp: bool = arg(True, "mixed precision where it is faster: CUDA, CPUs with bf16", note="bf16=True chooses bfloat16")
    half: bool = arg(False, "no effect: amp switches 16-bit floats in training")
    bf16: bool = arg(False, "bfloat16 instead of float16 in mixed precision; also on CPUs that can")
    compile: bool = arg(False, "run the network through torch.compile")
    fraction: float = arg(1.0, "share of the training images to use", **UNIT, open=True)
    freeze: int | Indices = arg(None, "do not train the first n layers, or the layers with these indices", low=0)
    multi_scale: bool = arg(False, "vary the input size by ±50 % between batches", note="only ±50 % is implemented")
    strict: bool = arg(False, STRICT)
    dropout: float = arg(0.0, "no effect: pose networks have no dropout", **UNIT)
    val: bool = arg(True, "validate after every epoch")
    split: str = arg("val", "part of the data set to validate on", choices=SPLITS)
    iou: float = arg(0.7, "IoU threshold of NMS in validation", **UNIT)
    max_det: int = arg(300, "most detections per image in validation", low=1)
    plots: bool = arg(True, "write curves and sample images")
    loggers: tuple[str, ...] | None = arg(None, "experiment trackers to log to: tensorboard, wandb, mlflow")

    lr0: float = arg(0.01, "initial learning rate", low=0.0)
    lrf: float = arg(0.01, "final learning rate as a share of lr0", low=0.0)
    momentum: float = arg(0.937, "SGD momentum, or Adam's beta1", **UNIT)
    weight_decay: float = arg(0.0005, "weight decay", low=0.0)
    warmup_epochs: float = arg(3.0, "epochs of warm-up", low=0.0)
    warmup_momentum: float = arg(0.8, "momentum at the start of the warm-up", **UNIT)
    warmup_bias_lr: float = arg(0.1, "learning rate of biases at the start of the warm-up", low=0.0)
    nbs: int = arg(64, "nominal batch size: gradients of smaller batches are accumulated to reach it", low=1)
    box: float = arg(7.5, "weight of the box loss", low=0.0)
    cls: float = arg(0.5, "weight of the class loss", low=0.0)
    dfl: float = arg(1.5, "weight of the distribution focal loss", low=0.0)
    pose: float = arg(12.0, "weight of the keypoint loss", low=0.0)
    kobj: float = arg(1.0, "weight of the keypoint visibility loss", low=0.0)

    hsv_h: float = arg(0.015, "random hue shift, ± share of the colour circle", **UNIT)
    hsv_s: float = arg(0.7, "random saturation change, ± share", **UNIT)
    hsv_v: float = arg(0.4, "random brightness change, ± share", **UNIT)
    degrees: float = arg(0.0, "random rotation, ± degrees", low=0.0, high=180.0)
    translate: float = arg(0.1, "random shift, ± share of the size", **UNIT)
    scale: float = arg(0.5, "random zoom, ± share", low=0.0)
    shear: float = arg(0.0, "random shear, ± degrees", low=-180.0, high=180.0)
    perspective: float = arg(0.0, "random perspective, ± share per pixel", low=0.0, high=0.001)
    flipud: float = arg(0.0, "probability of a vertical flip", **UNIT)
    fliplr: float = arg(0.5, "probability of a horizontal flip", **UNIT)
    bgr: float = arg(0.0, "probability of swapping red and blue", **UNIT)
    mosaic: float = arg(1.0, "probability of a mosaic of four images", **UNIT)
    mixup: float = arg(0.0, "probability of blending two images", **UNIT)
    copy_paste: float = arg(0.0, COPY_PASTE, **UNIT)
    crop: float = arg(0.0, CROP, **UNIT)
    crop_range: tuple[float, float] = arg((0.3, 2.0), CROP_RANGE, low=0.0, high=10.0, open=True)

    @property
    def side(self) -> int:
        """The input side in pixels: `imgsz`, which training sets from the model before it begins, or 640."""
        return self.imgsz or 640


@dataclass(frozen=True, kw_only=True)
class ExportConfig(RunArgs):
    """Write a model in another format."""

    format: str = arg("onnx", "format to write; 'yolo formats' lists them")
    imgsz: ImageSize | None = arg(None, FIXED_IMGSZ, low=32)
    batch: int = arg(1, "images per call of the exported network", low=1)
    dynamic: bool = arg(False, "variable batch, height and width")
    simplify: bool = arg(True, "simplify the graph")
    opset: int | None = arg(None, "ONNX operator set; None is 18", low=11)
    int8: bool = arg(False, "quantize to 8-bit integers, calibrated on the images of data")
    optimize: bool = arg(False, "TorchScript: channels-last weights, faster on CPUs")
    keras: bool = arg(False, "TF SavedModel: also write a Keras model")
    workspace: float | None = arg(None, "TensorRT: gigabytes of workspace; None lets TensorRT decide", low=0.0)
    nms: bool = arg(False, "build NMS into the file")
    conf: float = arg(0.25, "with nms: lowest confidence of a detection", **UNIT)
    iou: float = arg(0.7, "with nms: IoU above which the box of lower score is dropped", **UNIT)
    max_det: int = arg(300, "with nms: rows of the output, the most detections per image", low=1)
    agnostic_nms: bool = arg(False, "with nms: also between boxes of different classes")
    data: str | None = arg(None, "data set YAML whose train images calibrate int8; None uses the bundled photographs")
    verify: bool = arg(True, "run the new file and compare its results with the model's on photographs")
    out: str | None = arg(None, "file to write; None puts it next to the model")
    project: str | None = arg(None, NO_FILE_NAME)
    name: str | None = arg(None, NO_FILE_NAME)
    exist_ok: bool = arg(False, "no effect: an older file is replaced")
    verbose: bool = arg(True, "no effect: an export prints a few lines")
    compat: bool = arg(False, "no effect on the file; give it to predict or val")


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(Given):
    """Compare the detections of two model files on the same images: yolo verify A B."""

    a: str | None = arg(None, "reference model file")
    b: str | None = arg(None, "model file that should give the same detections")
    data: str | None = arg(None, "data set YAML whose images are compared; None uses the bundled photographs")
    split: str = arg("val", SPLIT, choices=SPLITS)
    tile: int | None = arg(None, "compare on square tiles of the images too, with this side in pixels", **TILE_SIDES)
    overlap: float = arg(0.2, OVERLAP, **OVERLAPS)
    device: str | None = arg(None, DEVICE, form="device")
    out: str | None = arg(None, "also write the report to this .json file")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Given):
    """Export a checkpoint to every format, and verify, measure and time each."""

    model: str | None = arg(None, "checkpoint (.pt)")
    data: str | None = arg(None, "data set YAML for mAP and int8 calibration; None measures no mAP")
    split: str = arg("val", SPLIT, choices=SPLITS)
    imgsz: ImageSize | None = arg(None, FIXED_IMGSZ, low=32)
    format: str | None = arg(None, "measure only this format; None measures all")
    half: bool = arg(False, "16-bit weights in formats that support them")
    int8: bool = arg(False, "8-bit integers in formats that support them")
    device: str | None = arg(None, DEVICE, form="device")
    threads: int | None = arg(None, THREADS, low=1)
    project: str | None = arg(None, "folder for run folders; None is runs/pose")
    name: str | None = arg(None, "name of the run folder inside project; None is benchmark")
    exist_ok: bool = arg(False, "write into an existing run folder instead of making a new, numbered one")
    plots: bool = arg(True, "write a plot")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Given):
    """Check a data set: invalid rows, leakage, statistics, flips; changes nothing in it."""

    data: str | None = arg(None, DATA)
    data_dir: str | None = arg(None, DATA_DIR)
    out: str | None = arg(None, "folder for the report; None is the next free runs/pose/doctor")
    exist_ok: bool = arg(False, "overwrite an existing report")
    strict: bool = arg(False, "exit with code 1 when the data has problems")
    previews: int = arg(8, "sample images per page, each also mirrored", low=0, high=100)


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(Given):
    """Convert COCO keypoints (coco=) or WIDER FACE (widerface=) to YOLO labels, or YOLO labels (data=) to COCO."""

    coco: str | None = arg(None, "COCO keypoints .json to convert to YOLO labels")
    widerface: str | None = arg(None, "folder of WIDER FACE: WIDER_train, WIDER_val, wider_face_split")
    data: str | None = arg(None, "data set YAML to convert to a COCO keypoints .json")
    split: str = arg("val", SPLIT, choices=SPLITS)
    images: str | None = arg(None, "with coco: folder of its images, linked next to the labels")
    landmarks: str | None = arg(None, "with widerface: RetinaFace's label.txt; None looks for it in the folder")
    seed: int = arg(0, "with widerface: seed of the 80/20 split of the training images", low=0)
    stratify: bool = arg(False, "with widerface: take 20 % of every event instead of 20 % of all images")
    copy: bool = arg(False, "with widerface: copy the images instead of linking them")
    out: str | None = arg(None, "a folder for the new data set (coco, widerface), or the .json file to write (data)")
    exist_ok: bool = arg(False, "overwrite existing files")


@dataclass(frozen=True, kw_only=True)
class LabelConfig(Given, DetectArgs):
    """Label photographs by a model: a new data set, or additions to a labelled one."""

    model: str | None = arg(None, MODEL)
    source: Any = arg(None, "photographs to label: a file, folder, glob or list of files")
    data: str | None = arg(None, "instead of source: data set YAML whose labels are completed, in a copy")
    data_dir: str | None = arg(None, DATA_DIR)
    split: str = arg("train", SPLIT, choices=SPLITS)
    what: str = arg("both", "what the model adds; points with data: keypoints of labelled boxes that have none",
                    choices=("boxes", "points", "both"))  # fmt: skip
    conf: float = arg(0.5, "lowest confidence of a new label", **UNIT)
    unsure: float = arg(0.2, "lowest confidence of a detection that becomes a box to ignore", **UNIT)
    kpt_conf: float = arg(0.5, "lowest confidence of a keypoint; the others are not labelled", **UNIT)
    imgsz: ImageSize | None = arg(None, IMGSZ, low=32)
    batch: int = arg(1, "images per call of the network", low=1)
    device: str | None = arg(None, DEVICE, form="device")
    half: bool = arg(False, "compute in 16-bit floats where the device can; decoding stays 32-bit")
    copy: bool = arg(False, "copy the images instead of linking them")
    out: str | None = arg(None, "folder for the new data set")
    exist_ok: bool = arg(False, "overwrite existing files")
    verbose: bool = arg(True, "print progress and results")


@dataclass(frozen=True, kw_only=True)
class EvalWiderfaceConfig(Given):
    """Measure prediction files by the easy, medium and hard average precision of WIDER FACE."""

    pred: str | None = arg(None, "folder of prediction files EVENT/NAME.txt: name, count, then x y w h score per line")
    gt: str | None = arg(None, "folder of the ground truth: wider_face_val.mat, wider_easy_val.mat, medium, hard")
    images: str | None = arg(None, "text file of the images to evaluate, EVENT/NAME.jpg per line; None is all 3,226")
    normalize: str = arg(
        "full", "with images: normalize scores over all prediction files or those images", choices=("full", "subset")
    )


@dataclass(frozen=True, kw_only=True)
class EvalTracksConfig(Given):
    """Measure files of tracks against true ones: HOTA, MOTA, IDF1 and their parts, for boxes and poses."""

    pred: str | None = arg(None, "found tracks: a file of save_tracks or MOTChallenge text, or a folder of them")
    gt: str | None = arg(None, "true tracks: the same, or a folder of MOTChallenge, NAME/gt/gt.txt")
    every: int = arg(1, "the truth has every n-th frame only, from the first; no other frame is counted", low=1)
    out: str | None = arg(None, "file to write the figures to, .json or .csv")


MODES: dict[str, type[Any]] = {
    "predict": PredictConfig,
    "track": TrackConfig,
    "val": ValConfig,
    "train": TrainConfig,
    "export": ExportConfig,
    "verify": VerifyConfig,
    "benchmark": BenchmarkConfig,
    "doctor": DoctorConfig,
    "convert": ConvertConfig,
    "label": LabelConfig,
    "eval-widerface": EvalWiderfaceConfig,
    "eval-tracks": EvalTracksConfig,
}
