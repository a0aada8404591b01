"""Speed and memory of one package on the first GPU: `speed.py yolopose|ultralytics DATA`; prints one line of JSON.

Both are driven by the same calls of their public interface: images per second of a training epoch (the best after the
first) and its peak of memory, and milliseconds per image of predict on an array, at 640 in mixed precision.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time

import numpy as np
import torch

EPOCHS, BATCH, PREDICTIONS = 4, 16, 50


def main(package: str, data: str) -> None:
    model = importlib.import_module(package).YOLO("yolov8n-pose.yaml")
    starts, rates = [], []

    def begin(trainer):
        torch.cuda.synchronize()
        starts.append(time.perf_counter())

    def end(trainer):
        torch.cuda.synchronize()
        rates.append(len(trainer.train_loader.dataset) / (time.perf_counter() - starts[-1]))

    model.add_callback("on_train_epoch_start", begin)
    model.add_callback("on_train_epoch_end", end)
    with tempfile.TemporaryDirectory() as folder:
        model.train(data=data, epochs=EPOCHS, batch=BATCH, imgsz=640, device=0, val=False, plots=False, project=folder,
                    close_mosaic=0, optimizer="SGD", verbose=False)  # fmt: skip
    memory = torch.cuda.max_memory_reserved() / 1e9
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    times = []
    for _ in range(PREDICTIONS):
        start = time.perf_counter()
        model.predict(image, imgsz=640, device=0, half=True, verbose=False)
        times.append(time.perf_counter() - start)
    figures = {"train, images/s": max(rates[1:]), "train, GB": memory, "predict, ms": 1e3 * float(np.median(times))}
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
