import copy
import json
import operator
import pickle

import numpy as np
import pytest
from helpers.builders import make_results

from yolopose.results import HostArray

TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)
FULL = TABLE + 1  # to divide by


def same(ours, expected):
    assert type(ours) is HostArray
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours.numpy(), expected)


def test_a_host_array_converts_to_ndarray_without_a_copy():
    ours = HostArray(TABLE)
    assert not isinstance(ours, np.ndarray)
    for plain in (ours.numpy(), ours.cpu().numpy(), np.asarray(ours), ours.detach().cpu().data.cuda().numpy()):
        assert type(plain) is np.ndarray
        assert np.shares_memory(plain, TABLE)
    assert np.array(ours, np.int64).dtype == np.int64
    assert not np.shares_memory(np.array(ours, copy=True), TABLE)
    assert not np.shares_memory(ours.clone().numpy(), TABLE)
    assert type(np.concatenate([ours, ours])) is np.ndarray


@pytest.mark.parametrize(
    "index", [0, -1, slice(1, None), [2, 0], (slice(None), 1), (..., slice(None, 2)), TABLE[:, 0] > 3, (1, 2), None]
)
def test_indexing(index):
    same(HostArray(TABLE)[index], TABLE[index])


def test_host_arrays_index_host_arrays():
    ours = HostArray(TABLE)
    same(ours[ours[:, 0] > 3], TABLE[TABLE[:, 0] > 3])
    same(ours[HostArray([2, 0])], TABLE[[2, 0]])
    same(ours[HostArray([0, 1]), HostArray([2, 3])], TABLE[[0, 1], [2, 3]])
    with pytest.raises(IndexError):
        ours[3]


def test_writing_changes_the_array_behind_it():
    table = TABLE.copy()
    ours = HostArray(table)
    ours[0] = HostArray([9, 9, 9, 9])
    ours[:, 1] += 1
    ours -= 1
    np.testing.assert_array_equal(table[0], [8, 9, 8, 8])
    assert type(ours) is HostArray


@pytest.mark.parametrize("op", [operator.add, operator.mul, operator.truediv, operator.lt, operator.eq, operator.pow])
@pytest.mark.parametrize("other", [2, TABLE + 2, np.float32(3), [1, 2, 3, 4]], ids=["int", "array", "scalar", "list"])
def test_operators_on_either_side(op, other):
    ours = HostArray(FULL)
    same(op(ours, other), op(FULL, other))
    if not isinstance(other, list):
        same(op(other, ours), np.asarray(op(other, FULL)))
    same(op(ours, ours), op(FULL, FULL))
    same(-ours, -FULL)


def test_numpy_functions_and_methods():
    ours = HostArray(TABLE)
    same(np.sqrt(ours), np.sqrt(TABLE))
    assert np.max(ours) == np.stack([ours, ours]).max() == 11
    same(ours.sum(0), TABLE.sum(0))
    same(ours.mean(axis=1), TABLE.mean(1))
    same(ours.max(), np.asarray(TABLE.max()))
    same(ours.T, TABLE.T)
    same(ours.reshape(-1), TABLE.ravel())
    same(ours.astype(int), TABLE.astype(int))
    same(ours.argsort(), TABLE.argsort())
    assert (ours.shape, ours.ndim, len(ours)) == ((3, 4), 2, 3)
    assert (ours.size(), ours.size(0), ours.dim(), ours.numel()) == ((3, 4), 3, 2, 12)
    same(HostArray([2.0, 1, 2]).unique(), np.array([1.0, 2]))
    assert TABLE.tolist() == ours.tolist() == json.loads(json.dumps(ours.tolist()))


def test_dtypes():
    ours = HostArray([1.9, -1.9, 0])
    same(ours.int(), np.array([1, -1, 0], np.int32))
    same(ours.long(), np.array([1, -1, 0]))
    same(ours.bool(), np.array([True, True, False]))
    same(ours.float(), np.array([1.9, -1.9, 0], np.float32))
    assert ours.to("torch.float16").dtype == np.float16
    for device in ("cpu", "cuda:0", "mps"):
        assert ours.to(device) is ours
    assert ours.to("cuda", non_blocking=True).cuda(0) is ours


def test_one_number():
    one, names = HostArray(TABLE)[1, 2], {6: "dog"}
    assert (int(one), float(one), one.item(), f"{one:.2f}") == (6, 6.0, 6.0, "6.00")
    assert names[int(one)] == names[one] == "dog"
    assert int(HostArray([7.5])) == 7
    assert [*range(10)][HostArray([3]).int()[0]] == 3
    assert bool(one)
    with pytest.raises(TypeError, match="hash"):
        hash(HostArray(TABLE))
    with pytest.raises(TypeError):
        operator.index(one)  # a float is no index
    with pytest.raises(ValueError, match="ambiguous"):
        bool(HostArray(TABLE))


def test_iteration_gives_elements_of_its_kind():
    rows = list(HostArray(TABLE))
    assert [type(row) for row in rows] == [HostArray] * 3
    x1, y1, x2, y2 = map(int, rows[1])
    assert (x1, y1, x2, y2) == (4, 5, 6, 7)
    assert 5 in HostArray(TABLE)[1]
    assert [int(i) for i in reversed(HostArray([1, 2]))] == [2, 1]


def test_copies_pickles_and_prints():
    ours = HostArray(TABLE)
    for again in (copy.deepcopy(ours), copy.copy(ours), pickle.loads(pickle.dumps(ours))):
        same(again, TABLE)
    assert repr(ours).startswith("HostArray([[ 0.,")
    assert f"{ours}" == str(ours)


def test_methods_that_only_torch_has_raise_with_the_remedy():
    with pytest.raises(AttributeError, match=r"'topk' without torch; import torch"):
        HostArray(TABLE).topk(2)
    assert not hasattr(HostArray(TABLE), "__array_interface__")


def test_torch_takes_it():
    torch = pytest.importorskip("torch")
    assert torch.as_tensor(HostArray(TABLE)).tolist() == torch.from_dlpack(HostArray(TABLE)).tolist() == TABLE.tolist()
    same(HostArray(TABLE).to(torch.int64), TABLE.astype(int))


@pytest.mark.usefixtures("torchless")
def test_pandas_takes_it():
    pd = pytest.importorskip("pandas")
    r = make_results(3)
    assert type(r.boxes.xyxy) is HostArray
    frame = pd.DataFrame(r.boxes.xyxy, columns=["x1", "y1", "x2", "y2"]).assign(conf=r.boxes.conf)
    assert frame.shape == (3, 5)
    assert frame.conf.tolist() == r.boxes.conf.tolist()
