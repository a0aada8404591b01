"""streamlit: a page that uploads nothing and shows picture, table and count, run by streamlit's own test bench."""

import pytest
from streamlit.testing.v1 import AppTest

pytestmark = pytest.mark.clients


def page(path: str) -> None:
    """The whole script of the page: streamlit runs its source anew at every change."""
    import streamlit as st

    from yolopose import YOLO

    @st.cache_resource
    def load():
        return YOLO("yolov8n-face")

    conf = st.slider("Confidence", 0.0, 1.0, 0.25)
    result = load().predict(path, conf=conf, verbose=False)[0]
    st.image(result.plot(), channels="BGR")
    st.dataframe(result.to_df()[["name", "confidence"]])
    st.metric("faces", len(result))


def test_page(faces, photograph):
    app = AppTest.from_function(page, kwargs={"path": str(photograph)}, default_timeout=60).run()
    assert not app.exception
    assert app.metric[0].value == str(len(faces))
    assert app.dataframe[0].value["name"].tolist() == ["face"] * len(faces)
    app.slider[0].set_value(1.0).run()
    assert not app.exception
    assert app.metric[0].value == "0"
