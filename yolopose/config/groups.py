"""Groups of arguments by subject, in the order of the help and the docs, the most used first."""

from __future__ import annotations

from collections.abc import Mapping

from yolopose.config.argument import Argument

GROUPS: dict[str, str] = {
    "model and data": "a b model pretrained teacher source missing data data_dir coco widerface pred gt every split "
    "images landmarks what prefix stratify copy classes single_cls fraction kpt_shape format",
    "size and speed": "imgsz tile overlap resize batch rect multi_scale device half bf16 int8 amp compile threads "
    "workers cache cache_dir max_pixels",
    "detections": "conf unsure kpt_conf iou max_det agnostic_nms nms metric normalize",
    "length of the run": "epochs time patience resume save_period close_mosaic val freeze seed deterministic",
    "optimizer": "optimizer lr0 lrf cos_lr momentum weight_decay warmup_epochs warmup_momentum warmup_bias_lr nbs "
    "dropout",
    "loss": "box cls dfl pose kobj",
    "augmentation": "mosaic mixup copy_paste crop crop_range scale translate degrees shear perspective fliplr flipud "
    "bgr hsv_h hsv_s hsv_v",
    "drawing": "show show_labels show_conf show_boxes line_width trails blur blur_style",
    "output": "save save_frames save_txt save_conf save_crop save_tracks save_json save_widerface plots previews "
    "loggers out project name exist_ok verbose per_keypoint keep_image stream",
    "file written": "dynamic simplify opset optimize keras workspace verify",
    "video": "vid_stride stream_buffer",
    "tracks": "tracker persist smooth",
    "other": "strict compat",
}


def grouped(known: Mapping[str, Argument]) -> dict[str, list[Argument]]:
    """Arguments by group, in order; those of no group come last."""
    named = {title: [known[name] for name in names.split() if name in known] for title, names in GROUPS.items()}
    placed = {argument.name for group in named.values() for argument in group}
    named["other"] += [argument for name, argument in known.items() if name not in placed]
    return {title: group for title, group in named.items() if group}
