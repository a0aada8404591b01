"""Nothing is sent, and nothing written but in the run's folder, our cache folder and the temporary folder.

Programs run without a network under strace; tests/exports/test_network.py does the same for every export format.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import watched
from helpers.builders import make_dataset, make_network, tiny_onnx

Watch = Callable[..., watched.Watched]
MAIN = "import sys; from yolopose.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Runs code, or a command line, and refuses what it does outside."""
    watched.require()
    return lambda code, *words, **environ: watched.watch(code, tmp_path, words, **environ)


def clean(watch: Watch, *words: str) -> watched.Watched:
    """Run the command line and check that it did its work and nothing else."""
    seen = watch(MAIN, *words)
    assert seen.code == 0, seen.output
    assert seen.network == []
    assert seen.outside == []
    assert seen.writes
    return seen


@pytest.mark.parametrize(
    "code",
    [
        "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept OSError: pass",
        "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass",
        "import socket\ntry: socket.create_connection(('127.0.0.1', 80), 1)\nexcept OSError: pass",
    ],
)
def test_a_program_that_reaches_for_the_network_is_caught(watch: Watch, code: str) -> None:
    seen = watch(code)
    assert seen.code == 0, seen.output
    assert seen.network


@pytest.mark.parametrize(
    "code",
    [
        "from pathlib import Path; (Path.home() / 'x').write_text('')",
        "from pathlib import Path; (Path.home() / 'x').mkdir()",
        "import os; os.chdir(os.environ['HOME']); open('x', 'w').close(); os.remove('x')",
        "import os; open('x', 'w').close(); os.rename('x', os.environ['HOME'] + '/x')",
        "import subprocess; subprocess.run(['touch', '../home/x'])",
    ],
)
def test_a_program_that_writes_elsewhere_is_caught(watch: Watch, code: str, tmp_path: Path) -> None:
    seen = watch(code)
    assert seen.code == 0, seen.output
    assert tmp_path / "home" / "x" in seen.outside
    assert seen.network == []


def test_onnx_runtime_by_itself_is_caught(watch: Watch) -> None:
    """The control for all others: where this finds nothing, they would find nothing, either."""
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29):
        pytest.skip("this ONNX Runtime sends nothing")
    assert watch("import onnxruntime, time; time.sleep(1)").outside


def test_predict(watch: Watch, tmp_path: Path) -> None:
    photo = watched.ROOT / "yolopose" / "assets" / "samples" / "images" / "val" / "astronaut_nasa.jpg"
    clean(watch, "predict", f"model={tiny_onnx(tmp_path / 'm.onnx')}", f"source={photo}", "imgsz=64", "save_txt=True")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["predict", "val"])
@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_predict_and_val(watch: Watch, tmp_path: Path, mode: str, suffix: str) -> None:
    data = make_dataset(tmp_path / "data")
    model = tiny_onnx(tmp_path / "m.onnx") if suffix == ".onnx" else checkpoint(tmp_path / "m.pt")
    what = f"data={data}" if mode == "val" else f"source={data.parent / 'images'}"
    clean(watch, mode, f"model={model}", what, "imgsz=64", "split=train" if mode == "val" else "save_txt=True")


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["cache=False", "cache=disk"])
def test_train(watch: Watch, tmp_path: Path, cache: str) -> None:
    data = make_dataset(tmp_path / "data", 8)
    model = checkpoint(tmp_path / "m.pt")
    clean(watch, "train", f"model={model}", f"data={data}", "imgsz=64", "epochs=2", "batch=4", "workers=2", cache)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_export(watch: Watch, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "run" / f"m.{kind}"
    clean(watch, "export", f"model={checkpoint(tmp_path / 'm.pt')}", f"format={kind}", "imgsz=64", f"out={out}")
    assert out.is_file()


def checkpoint(path: Path) -> Path:
    """A small network in a file."""
    from yolopose.checkpoint import Checkpoint, save_checkpoint

    network = make_network()
    save_checkpoint(path, Checkpoint(network.state_dict(), network.spec, network.info))
    return path
