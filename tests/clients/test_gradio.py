"""gradio: a demo with picture and sliders, asked over 127.0.0.1 as a browser asks it."""

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from PIL import Image

pytestmark = pytest.mark.clients


def test_demo(model, faces, photograph):
    counts = []

    def annotate(image, conf, iou):
        results = model.predict(source=image, conf=conf, iou=iou, show_labels=True, show_conf=True, imgsz=640)
        for r in results:
            counts.append(len(r))
            picture = Image.fromarray(r.plot()[..., ::-1])
        return picture

    inputs = [gr.Image(type="pil"), gr.Slider(0, 1, value=0.25), gr.Slider(0, 1, value=0.45)]
    with gr.Interface(annotate, inputs, gr.Image(type="pil", format="png")) as demo:
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        path = Client(url, verbose=False).predict(handle_file(photograph), 0.25, 0.7, api_name="/annotate")
    finally:
        demo.close()
    assert counts == [len(faces)]
    with Image.open(path) as picture:
        assert picture.size == faces.orig_shape[::-1]
