import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers.builders import make_results

from yolopose.results import Boxes, HostArray, Keypoints, Results

IMAGE = np.zeros((240, 320, 3), np.uint8)


@pytest.mark.usefixtures("kind")
def test_boxes_agree_with_one_another():
    b = make_results(4).boxes
    sides = np.array([320, 240, 320, 240], np.float32)
    corners, centred = b.xyxy.cpu().numpy(), b.xywh.cpu().numpy()
    np.testing.assert_allclose(centred[:, :2], (corners[:, :2] + corners[:, 2:]) / 2, rtol=1e-6)
    np.testing.assert_allclose(centred[:, 2:], corners[:, 2:] - corners[:, :2], rtol=1e-5)
    np.testing.assert_allclose(b.xyxyn.cpu().numpy() * sides, corners, rtol=1e-6)
    np.testing.assert_allclose(b.xywhn.cpu().numpy() * sides, centred, rtol=1e-5)
    assert b.shape == tuple(b.data.shape) == (4, 6)
    assert b.orig_shape == (240, 320)
    assert b.is_track is False
    assert b.id is None


@pytest.mark.usefixtures("kind")
def test_tracked_boxes_keep_score_and_class_last():
    plain, tracked = make_results(3).boxes, make_results(3, tracked=True).boxes
    assert tracked.is_track
    assert tracked.id.int().cpu().tolist() == [7, 8, 9]
    assert tracked.conf.tolist() == plain.conf.tolist()
    assert tracked.cls.tolist() == plain.cls.tolist()


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.usefixtures("kind")
def test_keypoints(d):
    k = make_results(3, 5, d).keypoints
    assert k.shape == (3, 5, d)
    assert k.has_visible == (d == 3)
    np.testing.assert_allclose(k.xyn.cpu().numpy() * [320, 240], k.xy.cpu().numpy(), rtol=1e-6)
    if d == 2:
        assert k.conf is None
    else:
        assert k.conf.tolist() == k.data[..., 2].tolist()


@pytest.mark.usefixtures("kind")
def test_raw_coordinates_survive_any_score():
    points = np.full((1, 17, 3), 50, np.float32)
    points[..., 2] = 0.01
    assert (Keypoints(points, (240, 320)).xy == 50).all()


@pytest.mark.usefixtures("kind")
def test_scripts_written_for_tensors_run_unchanged():
    r = make_results(3, tracked=True)
    for box in r.boxes:
        x1, y1, x2, y2 = map(int, box.xyxy[0])
        assert 0 <= x1 < x2
        assert 0 <= y1 < y2
        assert r.names[int(box.cls)] == r.names[int(box.cls[0].item())] in ("person", "dog")
        assert f"{box.conf[0]:.2f}" == f"{float(box.conf):.2f}"
    assert type(r.boxes.xyxy.cpu().numpy()) is np.ndarray
    assert r.boxes.xyxy.detach().clone().to("cpu").tolist() == r.boxes.xyxy.tolist()
    assert r.boxes.cls.unique().int().tolist() == [0, 1]
    assert (r.boxes.cls == 0).sum().item() == 2
    assert r.boxes.conf.size(0) == r.boxes.data.data.cpu().shape[0] == 3
    assert r.boxes.xyxy.int().float().numpy().dtype == np.float32
    assert r.keypoints.xy[0].cpu().numpy().shape == (17, 2)
    assert r.keypoints.data.numel() == 3 * 17 * 3
    ids = dict(zip(r.boxes.id.int().cpu().tolist(), r.boxes.xywh.cpu(), strict=True))
    x, _, _, _ = ids[7]
    assert float(x) == r.boxes.xywh[0, 0]
    assert [r.names[i] for i in r.boxes.cls.int().tolist()] == ["person", "dog", "person"]


def test_with_torch_imported_arrays_are_tensors():
    torch = pytest.importorskip("torch")
    r = make_results(3, tracked=True)
    b, k = r.boxes, r.keypoints
    given = (b.data, b.xyxy, b.xywh, b.xyxyn, b.xywhn, b.conf, b.cls, b.id, k.data, k.xy, k.xyn, k.conf)
    assert all(isinstance(x, torch.Tensor) and x.dtype == torch.float32 for x in given)
    assert torch.cat([b.xyxy, b.conf[:, None]], dim=1).shape == (3, 5)
    assert b.xyxy.unsqueeze(0).size(0) == 1
    assert b.conf.topk(2).indices.tolist() == b.conf.sort(descending=True)[1][:2].tolist() == [0, 1]
    assert b.xyxy.max(dim=0).values.shape == (4,)
    assert torch.cdist(k.xy[:, 0], k.xy[:, 0]).shape == (3, 3)
    assert len(r[b.conf > 0.5]) == len(r[torch.tensor([2, 0])]) == 2
    assert len(r[torch.tensor(1)]) == 1


def test_without_torch_arrays_are_host_arrays(torchless):
    r = make_results(3, tracked=True)
    b, k = r.boxes, r.keypoints
    given = (b.data, b.xyxy, b.xywh, b.xyxyn, b.xywhn, b.conf, b.cls, b.id, k.data, k.xy, k.xyn, k.conf)
    assert {type(x) for x in given} == {HostArray}
    assert len(r[b.conf > 0.5]) == 2


@pytest.mark.usefixtures("kind")
def test_numpy_gives_arrays_and_cpu_leaves_them():
    r = make_results(3, tracked=True)
    for plain in (r.numpy(), r.numpy().cpu(), r.numpy()[:2], next(iter(r.numpy())), copy.deepcopy(r.numpy())):
        b, k = plain.boxes, plain.keypoints
        given = (b.data, b.xyxy, b.xywh, b.xyxyn, b.conf, b.cls, b.id, k.data, k.xy, k.xyn, k.conf)
        assert {type(x) for x in given} == {np.ndarray}
    assert r.numpy().summary() == r.cpu().summary() == r.summary()
    assert type(r.numpy().to("cpu").boxes.data) is type(r.boxes.data)
    assert type(r.boxes.numpy()[0].xyxy) is np.ndarray
    assert r.orig_img is r.numpy().orig_img


def test_to_takes_what_a_tensor_takes():
    torch = pytest.importorskip("torch")
    r = make_results(3)
    half = r.to("cpu", torch.float16)
    assert half.boxes.xywh.dtype == half[1].keypoints.xyn.dtype == torch.float16
    assert r.to(torch.float64).boxes.conf.dtype == torch.float64
    assert r.boxes.data.dtype == torch.float32
    assert half.boxes.table.dtype == np.float32
    assert half.plot().shape == r.plot().shape
    with pytest.raises(RuntimeError):
        r.to("no such device")
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            r.cuda()


@pytest.mark.gpu
def test_results_on_a_gpu():
    r = make_results(3)
    for there in (r.cuda(), r.to("cuda:0"), r.numpy().cuda()):
        b, k = there.boxes, there.keypoints
        assert all(
            x.is_cuda for x in (b.data, b.xyxy, b.xywh, b.xyxyn, b.conf, k.data, k.xy, k.xyn, there[0].boxes.cls)
        )
        assert len(there[b.conf > 0.5]) == 2
        assert there.cpu().boxes.xyxy.device.type == pickle.loads(pickle.dumps(there)).boxes.xyxy.device.type == "cpu"
        assert there.summary() == r.summary()
        assert (there.plot() == r.plot()).all()


def test_without_torch_devices_mean_nothing(torchless):
    r = make_results(2)
    for moved in (r.cpu(), r.cuda(), r.to("cuda:0")):
        assert moved.boxes.data.tolist() == r.boxes.data.tolist()


@pytest.mark.usefixtures("kind")
def test_slices_share_memory_and_computed_arrays_do_not():
    r = make_results(3)
    r.boxes.xyxy[0, 0] = 1
    r.boxes.conf[:] = 0.5
    r.keypoints.xy[0, 0, 0] = 2
    r.boxes.xywh[:] = 0
    assert r.boxes.data[0, 0] == 1
    assert r.boxes.data[:, 4].tolist() == [0.5] * 3
    assert r.keypoints.data[0, 0, 0] == 2
    assert r.boxes.table[0, 0] == 1
    assert (r.boxes.xyxy[:, 2] > 0).all()


@pytest.mark.usefixtures("kind")
def test_arrays_that_torch_would_not_take_are_copied():
    fixed = np.array([[1, 2, 3, 4, 0.5, 0]], np.float32)
    fixed.flags.writeable = False
    assert Boxes(fixed, (240, 320)).xyxy.tolist() == [[1, 2, 3, 4]]
    assert Boxes(np.array([[1, 2, 3, 4, 0.5, 0]], ">f4"), (240, 320)).xyxy.tolist() == [[1, 2, 3, 4]]
    r = make_results(3)
    assert r[::-1].boxes.conf.tolist() == r.boxes.conf.tolist()[::-1]
    assert r.boxes[::-2].shape == (2, 6)


def test_results_take_tensors():
    torch = pytest.importorskip("torch")
    table = torch.tensor([[1, 2, 3, 4, 0.5, 0]], requires_grad=True)
    r = Results(IMAGE, "a.jpg", {0: "person"}, table)
    assert r.boxes.xyxy.tolist() == [[1, 2, 3, 4]]
    assert not r.boxes.data.requires_grad
    assert Results(IMAGE, "a.jpg", {}, table.to(torch.bfloat16)).boxes.xyxy.tolist() == [[1, 2, 3, 4]]


@pytest.mark.usefixtures("kind")
def test_results_take_arrays_of_results():
    r = make_results(3)
    again = Results(IMAGE, "a.jpg", r.names, r.boxes.data, r.keypoints.data)
    assert again.summary() == r.summary()
    assert Boxes(list(r.boxes.data), (240, 320)).data.tolist() == r.boxes.data.tolist()


def test_one_instance_may_come_without_its_dimension():
    assert Boxes([1, 2, 3, 4, 0.5, 0], (240, 320)).shape == (1, 6)
    assert Keypoints(np.ones((5, 2)), (240, 320)).shape == (1, 5, 2)


@pytest.mark.usefixtures("kind")
def test_copies_are_of_the_same_kind_and_independent():
    r = make_results(2)
    for again in (copy.deepcopy(r), pickle.loads(pickle.dumps(r))):
        assert type(again.boxes.xyxy) is type(r.boxes.xyxy)
        assert again.summary() == r.summary()
        again.boxes.data[:] = 0
    assert r.boxes.conf[0] > 0


def test_pickles_of_tensors_open_without_torch(tmp_path):
    torch = pytest.importorskip("torch")
    r = make_results(2)
    assert isinstance(r.boxes.data, torch.Tensor)
    (tmp_path / "r.pkl").write_bytes(pickle.dumps(r.to(torch.float16)) + pickle.dumps(r.numpy()))
    code = (
        "import pickle, sys; sys.modules['torch'] = None\n"
        "with open(sys.argv[1], 'rb') as f: a, b = pickle.load(f), pickle.load(f)\n"
        "print(type(a.boxes.xyxy).__name__, type(b.boxes.xyxy).__name__, len(a), a.boxes.xyxy.numpy().dtype)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "r.pkl"], capture_output=True, text=True, timeout=60)
    assert out.stdout.split() == ["HostArray", "ndarray", "2", "float32"], out.stderr


def test_many_threads_read_one_result():
    r, expected, wrong = make_results(3), make_results(3).boxes.xywh.tolist(), []

    def work():
        for _ in range(50):
            if r.boxes.xywh.tolist() != expected or len(list(r)) != 3:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
