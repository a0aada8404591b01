"""The arguments of every mode, with the names and defaults of Ultralytics 8.3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from yolopose.config.schema import arg
from yolopose.limits import MAX_PIXELS

ImageSize = int | tuple[int, int]
Indices = tuple[int, ...] | None
_MAX_PIXELS = "larger images are not decoded but count as unreadable"
DEVICE = "cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What every mode's arguments know: the names of those that the user set."""

    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class RunArgs(Given):
    """Where a run computes and writes; shared by all modes."""

    model: str | None = arg(None, "model file (.pt, .onnx, .yaml) or known name; None is the bundled model")
    device: str | None = arg(None, DEVICE, form="device")
    half: bool = arg(False, "16-bit floats where the device computes them; decoding stays 32-bit")
    project: str | None = arg(None, "folder of the runs; None is runs/pose")
    name: str | None = arg(None, "folder of this run below the project; None is the mode's name")
    exist_ok: bool = arg(False, "write into an existing run folder instead of numbering a new one")
    verbose: bool = arg(True, "print progress and results")
    compat: bool = arg(False, "follow the rules of Ultralytics 8.3 (docs/compat.md) instead of the better ones")


@dataclass(frozen=True, kw_only=True)
class DetectArgs:
    """How detections are chosen from the network's output; shared by predict and val."""

    iou: float = arg(0.7, "overlap above which non-maximum suppression drops the weaker box", low=0.0, high=1.0)
    max_det: int = arg(300, "detections kept per image", low=1)
    agnostic_nms: bool = arg(False, "suppress across classes")
    classes: Indices = arg(None, "class indices to keep; None keeps all", low=0)
    multi_label = False  # an anchor may become a detection of one class only; no argument: a rule of the mode
    bf16: bool = arg(False, "bfloat16 on CPUs that compute it (AVX512-BF16, AMX); decoding stays 32-bit")
    max_pixels: int = arg(MAX_PIXELS, _MAX_PIXELS, low=1)
    threads: int | None = arg(None, "CPU threads of the runtime; None is the runtime's own choice", low=1)
    kpt_shape: tuple[int, int] | None = arg(None, "K,D of an ONNX file that carries no metadata", low=2)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(RunArgs, DetectArgs):
    """Find the instances in images, videos and streams; draw and write them."""

    source: Any = arg(None, "image, video, folder, glob, list, URL, stream, camera number, screen, - or array")
    conf: float = arg(0.25, "lowest confidence of a detection", low=0.0, high=1.0)
    imgsz: ImageSize | None = arg(
        None, "input size in pixels: the long side, or height,width; None is the model's own", low=32
    )
    rect: bool = arg(True, "without effect, as in Ultralytics 8.3: images are padded only to multiples of the stride")
    batch: int = arg(1, "images per run of the network", low=1)
    vid_stride: int = arg(1, "take every n-th frame of a video", low=1)
    stream_buffer: bool = arg(False, "keep a stream's waiting frames instead of only the newest")
    missing: str = arg(
        "error", "a missing or unreadable file that you name: an error, or None in its place", choices=("error", "skip")
    )
    stream: bool = arg(False, "give results one by one (Python)")
    keep_image: bool = arg(True, "keep each image in its result; False saves memory")
    save: bool = arg(False, "write annotated images and videos (the command line does by default)")
    save_frames: bool = arg(False, "write the frames of videos as images")
    save_txt: bool = arg(False, "write a label file per image")
    save_conf: bool = arg(False, "add confidences to the label files")
    save_crop: bool = arg(False, "write each detection's part of the image")
    show: bool = arg(False, "open a window; needs a display")
    show_labels: bool = arg(True, "draw class names")
    show_conf: bool = arg(True, "draw confidences")
    show_boxes: bool = arg(True, "draw boxes")
    line_width: int | None = arg(None, "line width in pixels; None suits the image", low=1)


@dataclass(frozen=True, kw_only=True)
class ValConfig(RunArgs, DetectArgs):
    """Measure a model on a labelled data set."""

    multi_label = True  # of every class it scores above conf in, as average precision wants it
    data: str | None = arg(None, "data set YAML; None is the one the model was trained on")
    data_dir: str | None = arg(
        None, "folder to look for a data set in, and to download it to, if its own path is not there"
    )
    split: str = arg("val", "part of the data set", choices=("train", "val", "test"))
    conf: float = arg(0.001, "lowest confidence of a detection", low=0.0, high=1.0)
    imgsz: ImageSize | None = arg(
        None, "input size in pixels: the long side, or height,width; None is the model's own", low=32
    )
    rect: bool = arg(True, "pad each image only to a multiple of the stride instead of to the full size")
    batch: int = arg(16, "images per run of the network", low=1)
    workers: int = arg(8, "threads that read images ahead", low=0)
    metric: str = arg(
        "yolo",
        "yolo: P, R, mAP as Ultralytics 8.3; coco: as pycocotools; widerface: easy, medium, hard; landmarks: NME, PCK",
        choices=("yolo", "coco", "widerface", "landmarks"),
    )
    prefix: tuple[str, ...] | None = arg(None, "measure only images whose file name begins with one of these")
    resize: str = arg(
        "imgsz", "long side to imgsz; each image at its own size; or 1, 1.5 and 2 times imgsz, merged",
        choices=("imgsz", "original", "multi"),
    )  # fmt: skip
    gt: str | None = arg(None, "with metric=widerface: folder of the ground truth .mat files")
    save_widerface: bool = arg(False, "write detections in WIDER FACE's form, EVENT/NAME.txt")
    strict: bool = arg(False, "stop at the first bad label row instead of leaving it out")
    single_cls: bool = arg(False, "treat all classes as one")
    per_keypoint: bool = arg(False, "print the table of errors per keypoint; report.json always has it")
    save_json: bool = arg(False, "write predictions.json in COCO's result format")
    save_txt: bool = arg(False, "write a label file of detections per image")
    save_conf: bool = arg(False, "add confidences to the label files")
    plots: bool = arg(True, "write curves, confusion matrices and sample pictures")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunArgs):
    """Train a model on a labelled data set, or resume a run."""

    model: str | None = arg(None, "weights to start from (.pt or known name), or an architecture (.yaml)")
    data: str | None = arg(None, "data set YAML")
    data_dir: str | None = arg(
        None, "folder to look for a data set in, and to download it to, if its own path is not there"
    )
    epochs: int = arg(100, "passes over the training images", low=1)
    time: float | None = arg(None, "hours to train; overrides epochs", low=0.0)
    patience: int = arg(100, "stop after so many epochs without a better fitness; 0 never stops", low=0)
    batch: float = arg(16, "images per step; -1 fits 60 % of the GPU's memory, 0 to 1 that share", low=-1)
    imgsz: int | None = arg(
        None, "side of the square input in pixels; None is the model's own, 640 for an architecture", low=32
    )
    max_pixels: int = arg(MAX_PIXELS, _MAX_PIXELS, low=1)
    save: bool = arg(True, "write checkpoints")
    save_period: int = arg(-1, "also keep a checkpoint every n epochs", low=-1)
    cache: bool | str = arg(False, "keep decoded images: ram or disk", choices=(False, True, "ram", "disk"))
    cache_dir: str | None = arg(None, "folder of cache=disk; None is the user's cache folder")
    workers: int = arg(8, "processes that load images", low=0)
    pretrained: bool | str = arg(True, "start from the model's weights, or from those of the file named")
    optimizer: str = arg(
        "auto", "optimizer", choices=("auto", "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp")
    )
    seed: int = arg(0, "seed of all randomness", low=0)
    deterministic: bool = arg(True, "choose reproducible kernels")
    single_cls: bool = arg(False, "treat all classes as one")
    classes: Indices = arg(None, "class indices to train on; None is all", low=0)
    rect: bool = arg(False, "batches of like aspect ratio, padded together")
    cos_lr: bool = arg(False, "cosine instead of linear schedule")
    close_mosaic: int = arg(10, "epochs at the end without mosaic", low=0)
    resume: bool | str = arg(False, "go on from last.pt of the run, or from the checkpoint named")
    amp: bool = arg(
        True, "mixed precision where it is faster (CUDA; on CPUs with bf16=True)", note="bf16=True chooses bfloat16"
    )
    half: bool = arg(False, "without effect: amp chooses 16-bit floats in training")
    bf16: bool = arg(False, "bfloat16 instead of float16 in mixed precision; also on CPUs that compute it")
    compile: bool = arg(False, "compile the network with torch.compile")
    fraction: float = arg(1.0, "share of the training images used", low=0.0, high=1.0, open=True)
    freeze: int | Indices = arg(None, "first n layers, or layer indices, that are not trained", low=0)
    multi_scale: bool = arg(
        False, "vary the input size by ±50 % from batch to batch", note="another share than ±50 % is not implemented"
    )
    strict: bool = arg(False, "stop at the first bad label row instead of leaving it out")
    dropout: float = arg(0.0, "accepted for compatibility; pose networks have no dropout", low=0.0, high=1.0)
    val: bool = arg(True, "validate after every epoch")
    split: str = arg("val", "part of the data set validated on", choices=("train", "val", "test"))
    iou: float = arg(0.7, "overlap of non-maximum suppression in validation", low=0.0, high=1.0)
    max_det: int = arg(300, "detections kept per image in validation", low=1)
    plots: bool = arg(True, "write curves and sample pictures")
    loggers: tuple[str, ...] | None = arg(None, "tensorboard, wandb, mlflow")

    lr0: float = arg(0.01, "initial learning rate", low=0.0)
    lrf: float = arg(0.01, "final learning rate as a share of lr0", low=0.0)
    momentum: float = arg(0.937, "SGD momentum, or Adam's beta1", low=0.0, high=1.0)
    weight_decay: float = arg(0.0005, "weight decay", low=0.0)
    warmup_epochs: float = arg(3.0, "epochs of warm-up", low=0.0)
    warmup_momentum: float = arg(0.8, "momentum at the start of the warm-up", low=0.0, high=1.0)
    warmup_bias_lr: float = arg(0.1, "learning rate of biases at the start of the warm-up", low=0.0)
    nbs: int = arg(64, "nominal batch size: gradients of smaller batches are accumulated up to it", low=1)
    box: float = arg(7.5, "gain of the box loss", low=0.0)
    cls: float = arg(0.5, "gain of the class loss", low=0.0)
    dfl: float = arg(1.5, "gain of the distribution focal loss", low=0.0)
    pose: float = arg(12.0, "gain of the keypoint loss", low=0.0)
    kobj: float = arg(1.0, "gain of the keypoint visibility loss", low=0.0)

    hsv_h: float = arg(0.015, "hue jitter, share of the circle", low=0.0, high=1.0)
    hsv_s: float = arg(0.7, "saturation jitter, share", low=0.0, high=1.0)
    hsv_v: float = arg(0.4, "brightness jitter, share", low=0.0, high=1.0)
    degrees: float = arg(0.0, "rotation, ± degrees", low=0.0, high=180.0)
    translate: float = arg(0.1, "shift, ± share of the size", low=0.0, high=1.0)
    scale: float = arg(0.5, "zoom, ± share", low=0.0)
    shear: float = arg(0.0, "shear, ± degrees", low=-180.0, high=180.0)
    perspective: float = arg(0.0, "perspective, ± share per pixel", low=0.0, high=0.001)
    flipud: float = arg(0.0, "probability of a vertical flip", low=0.0, high=1.0)
    fliplr: float = arg(0.5, "probability of a horizontal flip", low=0.0, high=1.0)
    bgr: float = arg(0.0, "probability of swapped colour channels", low=0.0, high=1.0)
    mosaic: float = arg(1.0, "probability of a four-image mosaic", low=0.0, high=1.0)
    mixup: float = arg(0.0, "probability of blending two images", low=0.0, high=1.0)

    @property
    def side(self) -> int:
        """`imgsz`, or that of an architecture: a run sets the former before it begins."""
        return self.imgsz or 640


@dataclass(frozen=True, kw_only=True)
class ExportConfig(RunArgs):
    """Write a model in another format."""

    format: str = arg("onnx", "target format; 'yolo formats' lists them")
    imgsz: ImageSize | None = arg(
        None, "input size in pixels: square side, or height,width; None is the model's own", low=32
    )
    batch: int = arg(1, "images per run of the exported network", low=1)
    dynamic: bool = arg(False, "leave batch, height and width open")
    simplify: bool = arg(True, "simplify the graph")
    opset: int | None = arg(None, "ONNX operator set; None is 18", low=11)
    int8: bool = arg(False, "8-bit integers, with ranges measured on the images of data")
    optimize: bool = arg(False, "TorchScript: channels-last weights, quicker on CPUs")
    keras: bool = arg(False, "TF SavedModel: also as a Keras model")
    workspace: float | None = arg(None, "TensorRT: gigabytes of work space; None is TensorRT's own choice", low=0.0)
    nms: bool = arg(False, "put non-maximum suppression into the file")
    conf: float = arg(0.25, "with nms: lowest score that is kept", low=0.0, high=1.0)
    iou: float = arg(0.7, "with nms: overlap above which the lower score goes", low=0.0, high=1.0)
    max_det: int = arg(300, "with nms: rows of the output", low=1)
    agnostic_nms: bool = arg(False, "with nms: boxes of different classes suppress each other")
    data: str | None = arg(None, "data set YAML whose train images calibrate int8; None is the packaged photographs")
    verify: bool = arg(True, "open the new file and compare it with the model on photographs")
    out: str | None = arg(None, "file to write; None is next to the model")
    project: str | None = arg(None, "without effect: out names the file")
    name: str | None = arg(None, "without effect: out names the file")
    exist_ok: bool = arg(False, "without effect: an older file is replaced")
    verbose: bool = arg(True, "without effect: an export prints a few lines")
    compat: bool = arg(False, "without effect on the file; give it where the file runs")


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(Given):
    """Compare two model files on the same pixels: yolo verify A B."""

    a: str | None = arg(None, "model file to compare with")
    b: str | None = arg(None, "model file that should find the same")
    data: str | None = arg(None, "data set YAML of the photographs; None is the packaged ones")
    split: str = arg("val", "part of the data set", choices=("train", "val", "test"))
    device: str | None = arg(None, DEVICE, form="device")
    out: str | None = arg(None, "also write the report to this .json file")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Given):
    """Export a checkpoint to every format, and verify, measure and time each."""

    model: str | None = arg(None, "checkpoint (.pt)")
    data: str | None = arg(None, "data set YAML for mAP, and for calibration with int8; None measures no mAP")
    split: str = arg("val", "part of the data set", choices=("train", "val", "test"))
    imgsz: ImageSize | None = arg(
        None, "input size in pixels: square side, or height,width; None is the model's own", low=32
    )
    format: str | None = arg(None, "this format only; None is all")
    half: bool = arg(False, "16-bit weights in the formats that have them")
    int8: bool = arg(False, "8-bit integers in the formats that have them")
    device: str | None = arg(None, DEVICE, form="device")
    threads: int | None = arg(None, "CPU threads of the runtime; None is the runtime's own choice", low=1)
    project: str | None = arg(None, "folder of runs; None is runs/pose")
    name: str | None = arg(None, "name of the run's folder; None is benchmark")
    exist_ok: bool = arg(False, "write into a folder that is there already")
    plots: bool = arg(True, "draw the plot")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Given):
    """Examine a data set: bad rows, leakage, statistics, flips; never writes into it."""

    data: str | None = arg(None, "data set YAML")
    data_dir: str | None = arg(
        None, "folder to look for a data set in, and to download it to, if its own path is not there"
    )
    out: str | None = arg(None, "folder of the report; None is the next free runs/pose/doctor")
    exist_ok: bool = arg(False, "write over a report that is there already")
    strict: bool = arg(False, "exit with 1 when something is wrong with the data")
    previews: int = arg(8, "sample images per page, each as it is and mirrored", low=0, high=100)


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(Given):
    """Make YOLO labels of COCO keypoints (coco=) or WIDER FACE (widerface=), or COCO of YOLO labels (data=)."""

    coco: str | None = arg(None, "COCO keypoints .json to make YOLO labels of")
    widerface: str | None = arg(None, "folder of WIDER FACE: WIDER_train, WIDER_val, wider_face_split")
    data: str | None = arg(None, "data set YAML to make a COCO keypoints .json of")
    split: str = arg("val", "part of the data set", choices=("train", "val", "test"))
    images: str | None = arg(None, "with coco: folder of its images, linked next to the labels")
    landmarks: str | None = arg(None, "with widerface: RetinaFace's label.txt; None looks for it in the folder")
    seed: int = arg(0, "with widerface: seed of the 80/20 split of its training images", low=0)
    stratify: bool = arg(False, "with widerface: take 20 % of every event instead of 20 % of all images")
    copy: bool = arg(False, "with widerface: copy the images instead of linking to them")
    out: str | None = arg(None, "with coco or widerface: folder of the new data set; with data: the .json file")
    exist_ok: bool = arg(False, "write over files that are there already")


@dataclass(frozen=True, kw_only=True)
class EvalWiderfaceConfig(Given):
    """Measure anyone's prediction files by WIDER FACE's easy, medium and hard average precision."""

    pred: str | None = arg(None, "folder of prediction files EVENT/NAME.txt: name, count, then x y w h score a line")
    gt: str | None = arg(None, "folder of the ground truth: wider_face_val.mat, wider_easy_val.mat, medium, hard")
    images: str | None = arg(None, "text file of the images that count, EVENT/NAME.jpg a line; None is all 3,226")
    normalize: str = arg(
        "full", "with images: scale scores over all prediction files, or over those images", choices=("full", "subset")
    )


MODES: dict[str, type[Any]] = {
    "predict": PredictConfig,
    "val": ValConfig,
    "train": TrainConfig,
    "export": ExportConfig,
    "verify": VerifyConfig,
    "benchmark": BenchmarkConfig,
    "doctor": DoctorConfig,
    "convert": ConvertConfig,
    "eval-widerface": EvalWiderfaceConfig,
}
