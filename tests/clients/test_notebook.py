"""A notebook: predict, show inline, tables, arrays."""

import base64

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.clients

CELLS = (
    "from yolopose import YOLO\nresults = YOLO('yolov8n-face')(PATH)",
    "results[0].show()",
    "results[0]",
    "results[0].to_df()[['name', 'confidence']]",
    "results[0].boxes.conf.max().item()",
)


def test_cells(faces, photograph, tmp_path):
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(text.replace("PATH", repr(str(photograph)))) for text in CELLS]
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=120, kernel_name="python3", resources=resources).execute()
    outputs = [cell.outputs for cell in book.cells]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(outputs[1][0].data["image/png"]), np.uint8), 1)
    np.testing.assert_array_equal(picture, faces.plot())
    assert outputs[2][0].data["text/plain"].startswith("Results(")
    assert outputs[3][0].data["text/html"].count("face") == len(faces)
    assert float(outputs[4][0].data["text/plain"]) == pytest.approx(float(faces.boxes.conf.max()))
