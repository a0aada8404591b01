"""Values as scripts pass them: NumPy, torch, paths, devices, lists of one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolopose.config import MODES, PredictConfig, TrainConfig, arguments, parse
from yolopose.errors import UsageError


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("conf", np.float32(0.25), 0.25),
        ("conf", np.float64(0.3), 0.3),
        ("conf", np.array(0.3), 0.3),
        ("conf", "0.5,", 0.5),
        ("imgsz", np.int64(320), 320),
        ("imgsz", [320], 320),
        ("imgsz", (np.int32(320),), 320),
        ("imgsz", np.array([320, 640]), (320, 640)),
        ("imgsz", [np.int64(320), 640], (320, 640)),
        ("classes", np.array([0]), (0,)),
        ("classes", np.array([0, 2], np.uint8), (0, 2)),
        ("classes", np.int64(1), (1,)),
        ("save", np.True_, True),
        ("project", Path("runs") / "mine", "runs/mine"),
        ("max_det", [5], 5),
    ],
)
def test_values_of_other_libraries(key: str, value: Any, expected: Any) -> None:
    got = getattr(parse(PredictConfig, {key: value}), key)
    assert got == expected
    assert type(got) is type(expected)


def test_torch_values() -> None:
    torch = pytest.importorskip("torch")
    config = parse(
        PredictConfig, {"classes": torch.tensor([0, 1]), "conf": torch.tensor(0.5), "imgsz": torch.tensor(64)}
    )
    assert (config.classes, config.conf, config.imgsz) == ((0, 1), 0.5, 64)
    assert parse(PredictConfig, {"device": torch.device("cpu")}).device == "cpu"
    assert parse(PredictConfig, {"device": torch.device("cuda:1")}).device == "1"
    assert parse(PredictConfig, {"device": torch.tensor([0, 1])}).device == "0,1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cpu", "cpu"), ("CPU", "cpu"), (["cpu"], "cpu"), (0, "0"), ("0", "0"), ([0], "0"), ("[0]", "0"),
        ((0, 1), "0,1"),
        ([0, 1], "0,1"), ("0, 1", "0,1"), ("[0, 1]", "0,1"), ("(0,1)", "0,1"), (["0", "1"], "0,1"), ("cuda:0", "0"),
        ("cuda:0,1", "0,1"), (["cuda:0", "cuda:1"], "0,1"), ("cuda", "cuda"), (-1, "-1"), ("-1", "-1"), ([-1], "-1"),
        ("mps", "mps"), (None, None), ("None", None), ("", None), (np.int64(1), "1"), (np.array([0, 1]), "0,1"),
    ],
)  # fmt: skip
def test_devices(value: Any, expected: str | None) -> None:
    assert parse(PredictConfig, {"device": value}).device == expected


@pytest.mark.parametrize("value", ["gpu", "banana", "cpu,0", True, 0.5, [], "cuda:", "-2", [-1, -1], {"cuda": 0}])
def test_other_devices_are_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^device=.*: expected cpu, a GPU's number \(0, or 0,1 for two\)"):
        parse(PredictConfig, {"device": value})


@pytest.mark.parametrize("choice", ["SGD", "AdamW", "auto", "RMSProp"])
def test_choices_in_any_case(choice: str) -> None:
    assert parse(TrainConfig, {"optimizer": choice.lower()}).optimizer == choice
    assert parse(TrainConfig, {"optimizer": choice.upper()}).optimizer == choice


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just(10**400)
    | st.binary(max_size=4),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=3), items, max_size=2),
    max_leaves=6,
)


def refusal(cls: type[Any], values: dict[str, Any]) -> str:
    try:
        parse(cls, values)
    except UsageError as error:
        return str(error)
    return ""


@given(st.sampled_from(sorted(MODES)), st.data())
def test_any_value_is_taken_or_refused_in_one_line(mode: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(arguments(MODES[mode]))))
    value = data.draw(ANYTHING)
    for form in (value, str(value)):
        said = refusal(MODES[mode], {key: form})
        assert "\n" not in said
        assert len(said) < 400


@pytest.mark.parametrize("value", [[320, 320, 320], [], np.zeros((2, 2)), np.zeros(20_000), object()])
def test_long_invalid_values_are_shortened_in_the_error(value: Any) -> None:
    with pytest.raises(UsageError) as error:
        parse(PredictConfig, {"imgsz": value, "device": "cpu"})
    assert str(error.value).startswith("imgsz=")
    assert len(str(error.value)) < 300


def test_images_in_memory_are_sources():
    picture = np.zeros((4, 5, 3), np.uint8)
    config = parse(PredictConfig, {"source": picture, "conf": 0.25})
    assert config.source is picture
    assert config.given == {"source", "conf"}
