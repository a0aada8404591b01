"""The orders in which people write a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolopose.command_line import joined, read_arguments, split_mode
from yolopose.config import MODES
from yolopose.errors import UsageError

WANTED = ("predict", {"source": "a.jpg", "conf": "0.5"})


@pytest.mark.parametrize(
    "line",
    [
        "predict source=a.jpg conf=0.5",
        "pose predict source=a.jpg conf=0.5",
        "predict pose source=a.jpg conf=0.5",
        "source=a.jpg predict conf=0.5 pose",
        "source=a.jpg conf=0.5 pose predict",
        "task=pose mode=predict source=a.jpg conf=0.5",
        "source=a.jpg conf=0.5 mode=predict",
        "pose mode=predict source=a.jpg conf=0.5",
        "predict task=pose source=a.jpg conf=0.5",
        "predict mode=predict source=a.jpg conf=0.5",
        "--task pose --mode predict --source a.jpg --conf 0.5",
        "--source a.jpg predict --conf 0.5",
        "predict source = a.jpg conf= 0.5",
        "predict source =a.jpg conf=0.5",
    ],
)
def test_words_in_any_order(line: str) -> None:
    mode, rest = split_mode(joined(line.split()))
    assert mode is not None
    assert (mode, read_arguments(mode, rest)) == WANTED


@pytest.mark.parametrize(
    ("line", "mode", "values"),
    [
        ("--verbose predict source=a.jpg", "predict", {"verbose": "True", "source": "a.jpg"}),
        ("--verbose False predict", "predict", {"verbose": "False"}),
        ("--name predict train", "train", {"name": "predict"}),
        ("--name pose train", "train", {"name": "pose"}),
        ("train val", "train", {"val": "True"}),
        ("val pose data=d.yaml", "val", {"data": "d.yaml"}),
        ("train pose=12", "train", {"pose": "12"}),
        ("--resume train", "train", {"resume": "True"}),
        ("train imgsz=[320, 640]", "train", {"imgsz": "[320,640]"}),
        ("predict source=http://x/?q= save", "predict", {"source": "http://x/?q=", "save": "True"}),
        ("predict source=[1]a.jpg conf=0.5", "predict", {"source": "[1]a.jpg", "conf": "0.5"}),
        ("verify a.pt b.onnx", "verify", {"a": "a.pt", "b": "b.onnx"}),
        ("verify --device cpu a.pt b.onnx", "verify", {"device": "cpu", "a": "a.pt", "b": "b.onnx"}),
        ("verify --out r.json a.pt b.onnx", "verify", {"out": "r.json", "a": "a.pt", "b": "b.onnx"}),
        ("predict dnn int8", "predict", {"dnn": "True", "int8": "True"}),
        ("verify x x", "verify", {"a": "x", "b": "x"}),
        ("verify a.pt data=d.yaml b.onnx", "verify", {"a": "a.pt", "data": "d.yaml", "b": "b.onnx"}),
    ],
)
def test_words_that_could_be_something_else(line: str, mode: str, values: dict[str, str]) -> None:
    found, rest = split_mode(joined(line.split()))
    assert found == mode
    assert read_arguments(mode, rest) == values


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train predict", "two modes: train and predict; a command has one"),
        ("train mode=predict", "two modes: predict and train; a command has one"),
        ("mode=predictt", f"mode=predictt: one of {', '.join(MODES)}; did you mean 'predict'?"),
        ("task=detect mode=predict", "'detect': yolopose knows the task 'pose' only"),
        ("predict segment", "'segment': yolopose knows the task 'pose' only"),
    ],
)  # fmt: skip
def test_contradictory_modes_are_refused(line: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        split_mode(line.split())
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("verify a b c", "'c': verify takes 2 files, and this is one more"),
        ("predict -conf 0.5", "'-conf': write conf=VALUE or --conf VALUE"),
        ("val best.pt", "'best.pt' stands alone: did you mean model=best.pt?"),
        ("val my.yaml", "'my.yaml' stands alone: did you mean data=my.yaml?"),
    ],
)
def test_words_that_stand_alone(line: str, says: str) -> None:
    mode, rest = split_mode(line.split())
    assert mode is not None
    with pytest.raises(UsageError) as error:
        read_arguments(mode, rest)
    assert str(error.value) == says


WORDS = (
    "predict",
    "train",
    "verify",
    "pose",
    "detect",
    "task=pose",
    "mode=val",
    "--verbose",
    "--name",
    "conf=0.5",
    "=",
    "a=",
    "",
)


@given(st.lists(st.sampled_from(WORDS) | st.text("-=[],.a0 ", max_size=5), max_size=6))
def test_any_words_are_read_or_refused_in_one_line(words: list[str]) -> None:
    said = ""
    try:
        mode, rest = split_mode(joined(words))
        if mode is not None:
            read_arguments(mode, rest)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
