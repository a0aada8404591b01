"""Keyword arguments of YOLO's methods for type checkers; made by docs/generate.py, do not edit."""

# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import torch


class PredictArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.predict`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    conf: float
    """lowest confidence of a detection; default 0.25"""
    imgsz: int | Sequence[int] | None
    """input size in pixels: the long side, or height,width; None is the size stored in the model; default None"""
    rect: bool
    """no effect, as in Ultralytics 8.3: images are always padded only to multiples of the stride; default True"""
    batch: int
    """images per call of the network; default 1"""
    vid_stride: int
    """use every n-th frame of a video; default 1"""
    stream_buffer: bool
    """process all frames of a stream in order instead of only the newest; default False"""
    missing: str
    """unreadable named file: error raises, skip returns None; default error"""
    keep_image: bool
    """keep the image in each result; False saves memory; default True"""
    save: bool
    """write annotated images and videos; True on the command line; default False"""
    save_frames: bool
    """write the frames of videos as images; default False"""
    save_txt: bool
    """write a label file for each image; default False"""
    save_conf: bool
    """add confidences to the label files; default False"""
    save_crop: bool
    """write a crop of each detection; default False"""
    show: bool
    """show the annotated images in a window; needs a display; default False"""
    show_labels: bool
    """draw class names; default True"""
    show_conf: bool
    """draw confidences; default True"""
    show_boxes: bool
    """draw boxes; default True"""
    line_width: int | None
    """line width in pixels; None scales it with the image; default None"""
    blur: str | None
    """head or box: make these unrecognisable in all pictures; whoever is not found stays visible; default None"""
    blur_style: str
    """how: large pixels, a Gaussian, or one colour (pixelate, gaussian, fill); default pixelate"""
    iou: float
    """IoU above which non-maximum suppression (NMS) drops a box; default 0.7"""
    max_det: int
    """most detections per image; default 300"""
    agnostic_nms: bool
    """NMS also between boxes of different classes; default False"""
    classes: int | Sequence[int] | None
    """class indices to keep; None keeps all; default None"""
    tile: int | None
    """cut pictures into square tiles with this side in pixels, and add the whole picture; None does not; default None"""
    overlap: float
    """with tile: part of a tile that its neighbours show too; default 0.2"""
    bf16: bool
    """compute in bfloat16 on CPUs that can (AVX512-BF16, AMX); decoding stays 32-bit; default False"""
    max_pixels: int
    """images with more pixels are not decoded and count as unreadable; default 268435456"""
    threads: int | None
    """CPU threads of the runtime; None lets the runtime decide; default None"""
    kpt_shape: Sequence[int] | None
    """K,D (keypoints, values) of an ONNX file without metadata; default None"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    half: bool
    """compute in 16-bit floats where the device can; decoding stays 32-bit; default False"""
    project: str | PathLike[str] | None
    """folder for run folders; None is runs/pose; default None"""
    name: str | PathLike[str] | None
    """name of the run folder inside project; None is the mode's name; default None"""
    exist_ok: bool
    """write into an existing run folder instead of making a new, numbered one; default False"""
    verbose: bool
    """print progress and results; default True"""
    compat: bool
    """follow the rules of Ultralytics 8.3 (docs/compat.md) instead of the better ones; default False"""


class TrackArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.track`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    conf: float
    """lowest confidence of a detection; trackers follow known tracks with unsure ones; default 0.1"""
    tracker: str | PathLike[str] | None
    """pose, bytetrack, botsort, or a YAML file of your own; None is pose, with compat=True botsort; default None"""
    smooth: bool | str
    """steady keypoints: True filters without look-ahead, offline reads a recorded video twice and adds no delay (False, True, offline); default False"""
    save_tracks: str | PathLike[str] | None
    """file of all tracks to write: .csv, .json, .parquet, or .txt (MOTChallenge); default None"""
    trails: bool
    """draw where each instance was in the last 40 frames; default True"""
    iou: float
    """IoU above which non-maximum suppression (NMS) drops a box; default 0.7"""
    max_det: int
    """most detections per image; default 300"""
    agnostic_nms: bool
    """NMS also between boxes of different classes; default False"""
    classes: int | Sequence[int] | None
    """class indices to keep; None keeps all; default None"""
    tile: int | None
    """cut pictures into square tiles with this side in pixels, and add the whole picture; None does not; default None"""
    overlap: float
    """with tile: part of a tile that its neighbours show too; default 0.2"""
    bf16: bool
    """compute in bfloat16 on CPUs that can (AVX512-BF16, AMX); decoding stays 32-bit; default False"""
    max_pixels: int
    """images with more pixels are not decoded and count as unreadable; default 268435456"""
    threads: int | None
    """CPU threads of the runtime; None lets the runtime decide; default None"""
    kpt_shape: Sequence[int] | None
    """K,D (keypoints, values) of an ONNX file without metadata; default None"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    half: bool
    """compute in 16-bit floats where the device can; decoding stays 32-bit; default False"""
    project: str | PathLike[str] | None
    """folder for run folders; None is runs/pose; default None"""
    name: str | PathLike[str] | None
    """name of the run folder inside project; None is the mode's name; default None"""
    exist_ok: bool
    """write into an existing run folder instead of making a new, numbered one; default False"""
    verbose: bool
    """print progress and results; default True"""
    compat: bool
    """follow the rules of Ultralytics 8.3 (docs/compat.md) instead of the better ones; default False"""
    imgsz: int | Sequence[int] | None
    """input size in pixels: the long side, or height,width; None is the size stored in the model; default None"""
    rect: bool
    """no effect, as in Ultralytics 8.3: images are always padded only to multiples of the stride; default True"""
    batch: int
    """images per call of the network; default 1"""
    vid_stride: int
    """use every n-th frame of a video; default 1"""
    stream_buffer: bool
    """process all frames of a stream in order instead of only the newest; default False"""
    missing: str
    """unreadable named file: error raises, skip returns None; default error"""
    keep_image: bool
    """keep the image in each result; False saves memory; default True"""
    save: bool
    """write annotated images and videos; True on the command line; default False"""
    save_frames: bool
    """write the frames of videos as images; default False"""
    save_txt: bool
    """write a label file for each image; default False"""
    save_conf: bool
    """add confidences to the label files; default False"""
    save_crop: bool
    """write a crop of each detection; default False"""
    show: bool
    """show the annotated images in a window; needs a display; default False"""
    show_labels: bool
    """draw class names; default True"""
    show_conf: bool
    """draw confidences; default True"""
    show_boxes: bool
    """draw boxes; default True"""
    line_width: int | None
    """line width in pixels; None scales it with the image; default None"""
    blur: str | None
    """head or box: make these unrecognisable in all pictures; whoever is not found stays visible; default None"""
    blur_style: str
    """how: large pixels, a Gaussian, or one colour (pixelate, gaussian, fill); default pixelate"""


class ValArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.val`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    data: str | PathLike[str] | None
    """data set YAML; None is the one the model was trained on; default None"""
    data_dir: str | PathLike[str] | None
    """folder to look for the data set in, and to download it to, if its own path does not exist; default None"""
    split: str
    """part of the data set (train, val, test); default val"""
    conf: float
    """lowest confidence of a detection; default 0.001"""
    imgsz: int | Sequence[int] | None
    """input size in pixels: the long side, or height,width; None is the size stored in the model; default None"""
    rect: bool
    """pad each image only to a multiple of the stride instead of to the full size; default True"""
    batch: int
    """images per call of the network; default 16"""
    workers: int
    """threads that read images ahead; default 8"""
    metric: str
    """yolo: mAP like Ultralytics 8.3; coco: like pycocotools; widerface: easy, medium, hard; landmarks: NME, PCK; default yolo"""
    prefix: Sequence[str] | None
    """use only images whose file name starts with one of these; default None"""
    resize: str
    """imgsz: long side to imgsz; original: no resizing; multi: 1, 1.5 and 2 times imgsz, merged; default imgsz"""
    gt: str | PathLike[str] | None
    """with metric=widerface: folder of the ground truth .mat files; default None"""
    save_widerface: bool
    """write detections as WIDER FACE result files, EVENT/NAME.txt; default False"""
    strict: bool
    """stop at the first invalid label row instead of skipping it; default False"""
    single_cls: bool
    """treat all classes as one; default False"""
    per_keypoint: bool
    """print the errors of each keypoint; report.json always has them; default False"""
    save_json: bool
    """write predictions.json in COCO result format; default False"""
    save_txt: bool
    """write a label file of the detections for each image; default False"""
    save_conf: bool
    """add confidences to the label files; default False"""
    plots: bool
    """write curves, confusion matrices and sample images; default True"""
    iou: float
    """IoU above which non-maximum suppression (NMS) drops a box; default 0.7"""
    max_det: int
    """most detections per image; default 300"""
    agnostic_nms: bool
    """NMS also between boxes of different classes; default False"""
    classes: int | Sequence[int] | None
    """class indices to keep; None keeps all; default None"""
    tile: int | None
    """cut pictures into square tiles with this side in pixels, and add the whole picture; None does not; default None"""
    overlap: float
    """with tile: part of a tile that its neighbours show too; default 0.2"""
    bf16: bool
    """compute in bfloat16 on CPUs that can (AVX512-BF16, AMX); decoding stays 32-bit; default False"""
    max_pixels: int
    """images with more pixels are not decoded and count as unreadable; default 268435456"""
    threads: int | None
    """CPU threads of the runtime; None lets the runtime decide; default None"""
    kpt_shape: Sequence[int] | None
    """K,D (keypoints, values) of an ONNX file without metadata; default None"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    half: bool
    """compute in 16-bit floats where the device can; decoding stays 32-bit; default False"""
    project: str | PathLike[str] | None
    """folder for run folders; None is runs/pose; default None"""
    name: str | PathLike[str] | None
    """name of the run folder inside project; None is the mode's name; default None"""
    exist_ok: bool
    """write into an existing run folder instead of making a new, numbered one; default False"""
    verbose: bool
    """print progress and results; default True"""
    compat: bool
    """follow the rules of Ultralytics 8.3 (docs/compat.md) instead of the better ones; default False"""


class TrainArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.train`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    half: bool
    """no effect: amp switches 16-bit floats in training; default False"""
    data: str | PathLike[str] | None
    """data set YAML, such as coco8-pose.yaml; default None"""
    data_dir: str | PathLike[str] | None
    """folder to look for the data set in, and to download it to, if its own path does not exist; default None"""
    epochs: int
    """passes over the training images; default 100"""
    time: float | None
    """hours to train; overrides epochs; default None"""
    patience: int
    """stop after this many epochs without better fitness; 0 never stops; default 100"""
    batch: float
    """images per step; -1 fills 60 % of the GPU's memory, 0 to 1 that share; default 16"""
    imgsz: int | None
    """square input side in pixels; None is the checkpoint's, or 640; default None"""
    max_pixels: int
    """images with more pixels are not decoded and count as unreadable; default 268435456"""
    save: bool
    """write checkpoints; default True"""
    save_period: int
    """also keep a checkpoint every n epochs; default -1"""
    cache: bool | str
    """cache decoded images in ram or on disk (False, True, ram, disk); default False"""
    cache_dir: str | PathLike[str] | None
    """folder for cache=disk; None is the user's cache folder; default None"""
    workers: int
    """processes that load images; default 8"""
    pretrained: bool | str | PathLike[str]
    """start from the model's weights (True) or another file's (a path or name); default True"""
    teacher: str | PathLike[str] | None
    """checkpoint whose detections complete partly labelled images and missing keypoints; default None"""
    optimizer: str
    """optimizer (auto, SGD, Adam, AdamW, Adamax, NAdam, RAdam, RMSProp); default auto"""
    seed: int
    """seed of all random numbers; default 0"""
    deterministic: bool
    """use reproducible kernels; default True"""
    single_cls: bool
    """treat all classes as one; default False"""
    classes: int | Sequence[int] | None
    """class indices to train on; None uses all; default None"""
    rect: bool
    """batches of images with similar aspect ratio, padded as little as possible; default False"""
    cos_lr: bool
    """cosine instead of linear learning rate schedule; default False"""
    close_mosaic: int
    """train the last n epochs without mosaic, mixup and copy_paste; default 10"""
    resume: bool | str | PathLike[str]
    """continue a run from its last.pt (True) or from another checkpoint (a path); default False"""
    amp: bool
    """mixed precision where it is faster: CUDA, CPUs with bf16; default True"""
    bf16: bool
    """bfloat16 instead of float16 in mixed precision; also on CPUs that can; default False"""
    compile: bool
    """run the network through torch.compile; default False"""
    fraction: float
    """share of the training images to use; default 1.0"""
    freeze: int | int | Sequence[int] | None
    """do not train the first n layers, or the layers with these indices; default None"""
    multi_scale: bool
    """vary the input size by ±50 % between batches; default False"""
    strict: bool
    """stop at the first invalid label row instead of skipping it; default False"""
    dropout: float
    """no effect: pose networks have no dropout; default 0.0"""
    val: bool
    """validate after every epoch; default True"""
    split: str
    """part of the data set to validate on (train, val, test); default val"""
    iou: float
    """IoU threshold of NMS in validation; default 0.7"""
    max_det: int
    """most detections per image in validation; default 300"""
    plots: bool
    """write curves and sample images; default True"""
    loggers: Sequence[str] | None
    """experiment trackers to log to: tensorboard, wandb, mlflow; default None"""
    lr0: float
    """initial learning rate; default 0.01"""
    lrf: float
    """final learning rate as a share of lr0; default 0.01"""
    momentum: float
    """SGD momentum, or Adam's beta1; default 0.937"""
    weight_decay: float
    """weight decay; default 0.0005"""
    warmup_epochs: float
    """epochs of warm-up; default 3.0"""
    warmup_momentum: float
    """momentum at the start of the warm-up; default 0.8"""
    warmup_bias_lr: float
    """learning rate of biases at the start of the warm-up; default 0.1"""
    nbs: int
    """nominal batch size: gradients of smaller batches are accumulated to reach it; default 64"""
    box: float
    """weight of the box loss; default 7.5"""
    cls: float
    """weight of the class loss; default 0.5"""
    dfl: float
    """weight of the distribution focal loss; default 1.5"""
    pose: float
    """weight of the keypoint loss; default 12.0"""
    kobj: float
    """weight of the keypoint visibility loss; default 1.0"""
    hsv_h: float
    """random hue shift, ± share of the colour circle; default 0.015"""
    hsv_s: float
    """random saturation change, ± share; default 0.7"""
    hsv_v: float
    """random brightness change, ± share; default 0.4"""
    degrees: float
    """random rotation, ± degrees; default 0.0"""
    translate: float
    """random shift, ± share of the size; default 0.1"""
    scale: float
    """random zoom, ± share; default 0.5"""
    shear: float
    """random shear, ± degrees; default 0.0"""
    perspective: float
    """random perspective, ± share per pixel; default 0.0"""
    flipud: float
    """probability of a vertical flip; default 0.0"""
    fliplr: float
    """probability of a horizontal flip; default 0.5"""
    bgr: float
    """probability of swapping red and blue; default 0.0"""
    mosaic: float
    """probability of a mosaic of four images; default 1.0"""
    mixup: float
    """probability of blending two images; default 0.0"""
    copy_paste: float
    """probability of pasting instances of other images, with their keypoints, at other sizes; default 0.0"""
    crop: float
    """probability of a sample from a random square of one image instead of a mosaic or the whole image; default 0.0"""
    crop_range: Sequence[float]
    """with crop: smallest and largest side of the square, as a factor of the image's short side; default (0.3, 2.0)"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    project: str | PathLike[str] | None
    """folder for run folders; None is runs/pose; default None"""
    name: str | PathLike[str] | None
    """name of the run folder inside project; None is the mode's name; default None"""
    exist_ok: bool
    """write into an existing run folder instead of making a new, numbered one; default False"""
    verbose: bool
    """print progress and results; default True"""
    compat: bool
    """follow the rules of Ultralytics 8.3 (docs/compat.md) instead of the better ones; default False"""


class ExportArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.export`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    project: str | PathLike[str] | None
    """no effect: out names the file; default None"""
    name: str | PathLike[str] | None
    """no effect: out names the file; default None"""
    exist_ok: bool
    """no effect: an older file is replaced; default False"""
    verbose: bool
    """no effect: an export prints a few lines; default True"""
    compat: bool
    """no effect on the file; give it to predict or val; default False"""
    format: str | PathLike[str]
    """format to write; 'yolo formats' lists them; default onnx"""
    imgsz: int | Sequence[int] | None
    """input size in pixels: square side, or height,width; None is the size stored in the model; default None"""
    batch: int
    """images per call of the exported network; default 1"""
    dynamic: bool
    """variable batch, height and width; default False"""
    simplify: bool
    """simplify the graph; default True"""
    opset: int | None
    """ONNX operator set; None is 18; default None"""
    int8: bool
    """quantize to 8-bit integers, calibrated on the images of data; default False"""
    optimize: bool
    """TorchScript: channels-last weights, faster on CPUs; default False"""
    keras: bool
    """TF SavedModel: also write a Keras model; default False"""
    workspace: float | None
    """TensorRT: gigabytes of workspace; None lets TensorRT decide; default None"""
    nms: bool
    """build NMS into the file; default False"""
    conf: float
    """with nms: lowest confidence of a detection; default 0.25"""
    iou: float
    """with nms: IoU above which the box of lower score is dropped; default 0.7"""
    max_det: int
    """with nms: rows of the output, the most detections per image; default 300"""
    agnostic_nms: bool
    """with nms: also between boxes of different classes; default False"""
    data: str | PathLike[str] | None
    """data set YAML whose train images calibrate int8; None uses the bundled photographs; default None"""
    verify: bool
    """run the new file and compare its results with the model's on photographs; default True"""
    out: str | PathLike[str] | None
    """file to write; None puts it next to the model; default None"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    half: bool
    """compute in 16-bit floats where the device can; decoding stays 32-bit; default False"""


class BenchmarkArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.benchmark`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    data: str | PathLike[str] | None
    """data set YAML for mAP and int8 calibration; None measures no mAP; default None"""
    split: str
    """part of the data set (train, val, test); default val"""
    imgsz: int | Sequence[int] | None
    """input size in pixels: square side, or height,width; None is the size stored in the model; default None"""
    format: str | PathLike[str] | None
    """measure only this format; None measures all; default None"""
    half: bool
    """16-bit weights in formats that support them; default False"""
    int8: bool
    """8-bit integers in formats that support them; default False"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    threads: int | None
    """CPU threads of the runtime; None lets the runtime decide; default None"""
    project: str | PathLike[str] | None
    """folder for run folders; None is runs/pose; default None"""
    name: str | PathLike[str] | None
    """name of the run folder inside project; None is benchmark; default None"""
    exist_ok: bool
    """write into an existing run folder instead of making a new, numbered one; default False"""
    plots: bool
    """write a plot; default True"""


class LabelArguments(TypedDict, total=False):
    """Keyword arguments of `YOLO.label`; those left out have their default."""

    cfg: str | PathLike[str]
    """YAML file of further arguments; those given in the call win"""
    data: str | PathLike[str] | None
    """instead of source: data set YAML whose labels are completed, in a copy; default None"""
    data_dir: str | PathLike[str] | None
    """folder to look for the data set in, and to download it to, if its own path does not exist; default None"""
    split: str
    """part of the data set (train, val, test); default train"""
    what: str
    """what the model adds; points with data: keypoints of labelled boxes that have none (boxes, points, both); default both"""
    conf: float
    """lowest confidence of a new label; default 0.5"""
    unsure: float
    """lowest confidence of a detection that becomes a box to ignore; default 0.2"""
    kpt_conf: float
    """lowest confidence of a keypoint; the others are not labelled; default 0.5"""
    imgsz: int | Sequence[int] | None
    """input size in pixels: the long side, or height,width; None is the size stored in the model; default None"""
    batch: int
    """images per call of the network; default 1"""
    device: str | int | Sequence[int] | torch.device | None
    """cpu, a GPU's number, -1 for an idle GPU, or mps; None takes a GPU when there is one; default None"""
    half: bool
    """compute in 16-bit floats where the device can; decoding stays 32-bit; default False"""
    copy: bool
    """copy the images instead of linking them; default False"""
    out: str | PathLike[str] | None
    """folder for the new data set; default None"""
    exist_ok: bool
    """overwrite existing files; default False"""
    verbose: bool
    """print progress and results; default True"""
    iou: float
    """IoU above which non-maximum suppression (NMS) drops a box; default 0.7"""
    max_det: int
    """most detections per image; default 300"""
    agnostic_nms: bool
    """NMS also between boxes of different classes; default False"""
    classes: int | Sequence[int] | None
    """class indices to keep; None keeps all; default None"""
    tile: int | None
    """cut pictures into square tiles with this side in pixels, and add the whole picture; None does not; default None"""
    overlap: float
    """with tile: part of a tile that its neighbours show too; default 0.2"""
    bf16: bool
    """compute in bfloat16 on CPUs that can (AVX512-BF16, AMX); decoding stays 32-bit; default False"""
    max_pixels: int
    """images with more pixels are not decoded and count as unreadable; default 268435456"""
    threads: int | None
    """CPU threads of the runtime; None lets the runtime decide; default None"""
    kpt_shape: Sequence[int] | None
    """K,D (keypoints, values) of an ONNX file without metadata; default None"""
