"""Run every model of the package, or those named, on its sample photographs: python examples/demo.py [MODEL …]"""

import sys
from collections import Counter
from pathlib import Path

from yolopose import YOLO
from yolopose.weights import ASSETS, FINDS, bundled


def main(models: list[str]) -> None:
    photographs = [str(file) for file in sorted((ASSETS / "samples" / "images").glob("*/*.jpg"))]
    lines = []
    for name in models or list(bundled()):
        found, images, folder = Counter[str](), 0, Path("runs/demo") / Path(name).stem
        arguments = {"save": True, "project": str(folder.parent), "name": folder.name, "exist_ok": True}
        for result in YOLO(name).predict(photographs, stream=True, **arguments):
            found.update(result.names[int(number)] for number in result.boxes.cls)
            images += len(result) > 0
        what = ", ".join(f"{count} × {thing}" for thing, count in found.items()) or "nothing"
        about = FINDS.get(name, "a model of yours")
        lines.append(f"{name} ({about}): {what}, on {images} of {len(photographs)} photographs; pictures in {folder}")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
