"""The command line as a newcomer types it: spelling, help, errors and exit codes."""

from pathlib import Path

import pytest

from yolopose import __version__
from yolopose.cli import main
from yolopose.command_line import read_arguments
from yolopose.config import MODES, arguments
from yolopose.errors import UsageError
from yolopose.weights import DEFAULT


@pytest.mark.parametrize(
    "words",
    [
        ["conf=0.5", "source=a.jpg", "save=True"],
        ["--conf", "0.5", "--source", "a.jpg", "--save", "True"],
        ["--conf=0.5", "--source=a.jpg", "--save=True"],
        ["--save", "--conf", "0.5", "--source=a.jpg"],
        ["save", "conf=0.5", "source=a.jpg"],
    ],
)
def test_three_spellings_mean_the_same(words: list[str]) -> None:
    assert read_arguments("predict", words) == {"conf": "0.5", "source": "a.jpg", "save": "True"}


def test_dashes_in_names_and_equals_in_values() -> None:
    assert read_arguments("predict", ["--max-det", "5", "source=http://x/?a=b"]) == {
        "max_det": "5",
        "source": "http://x/?a=b",
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["photo.jpg"], "did you mean source=photo.jpg?"),
        (["--conf"], "--conf needs a value"),
        (["conf=1", "conf=2"], "given twice"),
        (["cof"], "did you mean conf=…?"),
    ],
)
def test_stray_words_are_explained(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        read_arguments("predict", words)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["predct"], 2, "did you mean 'predict'?"),
        (["detect", "predict"], 2, "the task 'pose' only"),
        (["conf=0.5"], 2, "which mode?"),
        (["mode=predict", "conf=2"], 2, "0 to 1"),
        (["val", "detect"], 2, "the task 'pose' only"),
        (["track", "source=x.mp4", "tracker=ocsort"], 2, "ocsort is not one of our trackers"),
        (["help", "predikt"], 2, "unknown command 'predikt'; did you mean 'predict'?"),
        (["help", "tune"], 2, "does not search"),
        (["--verbose"], 2, "which mode?"),
        (["predict", "augment"], 2, "augment='True': not implemented"),
        (["train", "amp=bf16"], 2, "amp='bf16': expected True or False (bf16=True chooses bfloat16)"),
        (["settings"], 2, "has no settings file"),
        (["predict", "device=gpu"], 2, "expected cpu, a GPU's number"),
        (["pose", "predict", "cnof=0.5"], 2, "did you mean 'conf'?"),
        (["predict", "conf=2"], 2, "0 to 1"),
        (["predict", "model=nowhere.onnx", "source=x.jpg"], 1, "nowhere.onnx"),
    ],
)
def test_wrong_command_lines_are_one_line(
    argv: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(argv) == code
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "name=value"),
        (["help"], "yolo train"),
        (["--help"], "exit codes"),
        (["version"], __version__),
        (["checks"], "onnxruntime"),
        (["formats"], "name_openvino_model"),
        (["cfg"], "close_mosaic"),
        (["-V"], __version__),
        (["-v"], __version__),
        (["--version"], __version__),
        (["help", "predict"], "max_det"),
        (["--help", "val"], "max_det"),
        (["train", "epochs=3", "-h"], "warmup_epochs"),
        (["predict", "help"], "max_det"),
        (["pose", "train", "--help"], "warmup_epochs"),
    ],
)
def test_help_and_facts(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert says in capsys.readouterr().out


def test_a_file_of_arguments_may_name_the_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "args.yaml"
    file.write_text("task: pose\nmode: predict\nmodel: nowhere.onnx\n")
    for words in ([f"cfg={file}", "imgsz=64"], ["pose", "--cfg", str(file)]):
        assert main([*words, "source=x.jpg"]) == 1
        assert "nowhere.onnx: no such file" in capsys.readouterr().err
    assert main([f"cfg={file}", "--help"]) == 0
    assert "max_det" in capsys.readouterr().out
    for text, says in (
        ("mode: tune", "which mode?"),
        ("task: detect\nmode: val", "the task 'pose' only"),
        ("- 1", "cfg="),
    ):
        file.write_text(text)
        assert main([f"cfg={file}"]) == 2
        assert says in capsys.readouterr().err
    assert main(["cfg=nowhere.yaml"]) == 2
    assert "cfg=nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_help(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([mode, "help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in arguments(MODES[mode]))


def test_the_bundled_checkpoint_is_exported_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "format=onix"]) == 2
    assert "did you mean onnx?" in capsys.readouterr().err
    pytest.importorskip("torch")
    assert main(["export", "format=torchscript", "imgsz=64", "verify=False"]) == 0
    assert (tmp_path / f"{DEFAULT}.torchscript").is_file()
