"""Prediction from .onnx and the doctor in an environment that holds the light install and nothing else."""

import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.builders import tiny_onnx

ROOT = Path(__file__).resolve().parents[1]
OWN = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def closure(name: str) -> set[str]:
    """The distributions that `pip install name` brings, extras left out."""
    names: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in names:
            continue
        names.add(current)
        try:
            lines = OWN if current == "yolopose" else metadata.requires(current) or []
        except metadata.PackageNotFoundError:
            continue  # a requirement of another platform or Python
        for line in lines:
            if "extra ==" not in line and "platform_system" not in line and "sys_platform" not in line:
                waiting.append(re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0].lower())
    return names


def link(source: str | Path, target: str | Path) -> None:
    """A hard link, or a copy where the file system has none across folders."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with exactly the packages of the light install."""
    folder = tmp_path_factory.mktemp("light")
    for name in closure("yolopose") - {"yolopose"}:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue  # a requirement of another platform or Python
        for top in {f.parts[0] for f in files} - {"..", "__pycache__"}:
            target = Path(str(metadata.distribution(name).locate_file(top)))
            if target.is_dir() and not (folder / top).exists():
                shutil.copytree(target, folder / top, copy_function=link, ignore=shutil.ignore_patterns("__pycache__"))
            elif target.is_file():
                link(target, folder / top)
    (folder / "yolopose").symlink_to(ROOT / "yolopose")
    return folder


def run(light: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in the light environment: no site-packages, no environment variables."""
    start = f"import sys; sys.path.insert(0, {str(light)!r}); "
    return subprocess.run([sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True, check=False)


def test_the_light_install_has_no_torch(light: Path) -> None:
    names = "'torch', 'onnx', 'pandas', 'matplotlib'"
    told = run(light, f"import importlib.util as u; print([n for n in ({names}) if u.find_spec(n)])")
    assert told.stdout == "[]\n"


def test_python_and_command_line_predict_without_torch(light: Path, tmp_path: Path) -> None:
    model, picture = tiny_onnx(tmp_path / "tiny.onnx"), tmp_path / "picture.jpg"
    words = ["predict", f"model={model}", f"source={picture}", f"project={tmp_path}"]
    code = (
        "import numpy as np, yolopose; from yolopose.cli import main; "
        f"model = yolopose.YOLO({str(model)!r}); "
        "r = model(np.zeros((90, 120, 3), np.uint8), imgsz=64, conf=0.0, max_det=3, verbose=False)[0]; "
        "assert r.keypoints.shape == (3, 5, 3) and r.boxes.shape == (3, 6); "
        f"r.save({str(picture)!r}); assert main({words!r}) == 0; assert 'torch' not in sys.modules; print('fine')"
    )
    told = run(light, code)
    assert told.stdout.endswith("fine\n"), told.stderr
    assert cv2.imread(str(tmp_path / "predict" / "picture.jpg")).shape == (90, 120, 3)


def test_tracking_needs_neither_torch_nor_scipy(light: Path, tmp_path: Path) -> None:
    model = tiny_onnx(tmp_path / "tiny.onnx")
    code = (
        "import numpy as np, yolopose; "
        f"model = yolopose.YOLO({str(model)!r}); "
        "frames = [np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)] * 3; "
        "options = dict(imgsz=64, max_det=3, verbose=False); "
        f"r = model.track(frames, smooth='offline', save_tracks={str(tmp_path / 't.csv')!r}, **options); "
        "r += model.track(frames[0], persist=True, smooth=True, tracker='botsort', **options); "
        "assert len(r) == 4 and all(x.boxes.is_track for x in r) and len(r[0]), r; "
        "assert not {'torch', 'scipy', 'pyarrow', 'pandas'} & set(sys.modules); print('fine')"
    )
    told = run(light, code)
    assert told.stdout.endswith("fine\n"), told.stderr
    assert len((tmp_path / "t.csv").read_text().splitlines()) > 1


def test_bundled_models_run_without_torch_and_onnx(light: Path) -> None:
    code = (
        "import numpy as np, yolopose; from yolopose.weights import bundled; from yolopose.errors import PoseError\n"
        "yolopose.YOLO()\n"
        "for name in bundled():\n"
        "    model = yolopose.YOLO(name)\n"
        "    model(np.zeros((90, 120, 3), np.uint8), imgsz=64, verbose=False)\n"
        "    calls = lambda: model.model, lambda: model.train(data='x.yaml'), lambda: yolopose.YOLO(f'{name}.pt')\n"
        "    calls += lambda: model.save('x.pt'), lambda: model.load('y.pt'), lambda: model.pretrained\n"
        "    calls += model.info, model.reset_weights, model.fuse, model.state_dict\n"
        "    for call in calls:\n"
        "        try: call()\n"
        "        except PoseError as e: print('needs torch' in str(e), 'torch' in sys.modules)\n"
    )
    told = run(light, code)
    assert told.stderr == ""
    assert set(told.stdout.splitlines()) == {"True False"}
    assert len(told.stdout.splitlines()) >= 3


def test_track_runs_without_torch_and_scipy(light: Path, tmp_path: Path) -> None:
    model, folder = tiny_onnx(tmp_path / "tiny.onnx"), tmp_path / "frames"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png"):
        cv2.imwrite(str(folder / name), np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    table = tmp_path / "tracks.csv"
    words = ["track", f"model={model}", f"source={folder}", f"save_tracks={table}"]
    words += [f"project={tmp_path}", "imgsz=64", "conf=0.0001", "max_det=3"]
    code = (
        "import dataclasses as d, yolopose.track.options as o; plain = o.read_tracker; "
        "o.read_tracker = lambda name: d.replace(plain(name), track_high_thresh=0.0, new_track_thresh=0.0); "
        "import sys; from yolopose.cli import main; print('code', main(sys.argv[1:] or WORDS)); "
        "assert {'torch', 'scipy', 'pandas'}.isdisjoint(sys.modules); assert 'lap' in sys.modules"
    ).replace("WORDS", repr(words))
    told = run(light, code)
    assert told.stdout.endswith("code 0\n"), told.stdout + told.stderr
    assert told.stderr.count("Traceback") == 0, told.stderr
    assert len(table.read_text().splitlines()) > 1


def test_validation_runs_without_torch_and_matplotlib(light: Path, tmp_path: Path) -> None:
    model = tiny_onnx(tmp_path / "tiny.onnx", k=17)
    words = ["val", f"model={model}", "data=sample-pose.yaml", "imgsz=64", f"project={tmp_path}"]
    told = run(light, f"from yolopose.cli import main; print('code', main({words!r}))")
    assert told.stdout.endswith("code 0\n"), told.stdout + told.stderr
    assert "mAP50-95" in told.stdout
    assert (tmp_path / "val" / "report.json").exists()


def test_modes_that_need_torch_are_refused_in_one_line(light: Path, golden: Path) -> None:
    commands = [
        ["predict", f"model={golden}/natural-n17.pt", "source=x.jpg"],
        ["train", "model=yolov8n-pose.yaml", "data=x.yaml"],
    ]
    told = run(light, f"from yolopose.cli import main; print(*(main(words) for words in {commands!r}))")
    assert told.stdout == "1 1\n", told.stderr
    lines = told.stderr.splitlines()
    assert len(lines) == 2
    assert all("pip install 'yolopose[train]'" in line for line in lines), lines


def test_the_doctor_runs_without_torch(light: Path, tmp_path: Path) -> None:
    code = (
        "import cv2, numpy as np, pathlib; from yolopose.cli import main; "
        f"folder = pathlib.Path({str(tmp_path)!r}); (folder / 'images').mkdir(); (folder / 'labels').mkdir(); "
        "cv2.imwrite(str(folder / 'images' / 'a.jpg'), np.full((64, 64, 3), 99, np.uint8)); "
        "(folder / 'labels' / 'a.txt').write_text('0 0.5 0.5 0.4 0.6 0.4 0.4 0.6 0.4'); "
        "text = 'train: images\\nval: images\\nnames: [face]\\nkpt_shape: [2, 2]\\nflip_idx: [1, 0]\\n'; "
        "(folder / 'data.yaml').write_text(text); "
        "print(main(['doctor', f'data={folder}/data.yaml', f'out={folder}/report']))"
    )
    told = run(light, code)
    assert told.stdout.endswith("\n0\n"), told.stderr
    assert (tmp_path / "report" / "report.html").exists()
