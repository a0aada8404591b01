"""Hostile pickles: every one is refused in one line or read as mere data, runs nothing, and costs little."""

import io
import pickle
import random
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import PosixPath, PureWindowsPath

import numpy as np
import pytest
import torch
from helpers.pickles import HEAD, array, call, name, number, numbers, raw, stand_in, storage, tensor, text

from yolopose.checkpoint import records, unpickle
from yolopose.checkpoint.records import Name, StandIn, Storage, TensorView
from yolopose.errors import PoseError

# Every one of these, were it called with a command, would run it.
DANGEROUS = """
os system|posix system|nt system|os popen|os execv|os remove|subprocess Popen|subprocess check_output|subprocess run
builtins eval|builtins exec|__builtin__ eval|__builtin__ execfile|builtins compile|builtins open|builtins __import__
builtins globals|builtins setattr|builtins type|builtins print|runpy run_path|runpy run_module|runpy _run_code
importlib import_module|pty spawn|code InteractiveInterpreter|timeit timeit|cProfile run|pdb run|bdb Bdb|ctypes CDLL
socket create_connection|webbrowser open|shutil rmtree|types FunctionType|types CodeType|functools partial
operator attrgetter|operator methodcaller|copyreg _reconstructor|copyreg add_extension|pickle loads|_pickle loads
marshal loads|codecs decode|codecs open|_codecs decode|_codecs lookup|torch load|torch.hub load|torch.jit load
torch.storage _load_from_bytes|torch.serialization load|torch.utils.cpp_extension load|torch._utils _rebuild_tensor
torch.ops load_library|torch.package PackageImporter|torch._dynamo.guards GuardBuilder|numpy load|numpy frombuffer
numpy.testing._private.utils runstring|dill._dill _import_module|dill._dill _create_function|pathlib Path
pathlib PosixPath.open|collections OrderedDict.fromkeys
torch._utils _rebuild_tensor_v2.__globals__|ultralytics.nn.tasks PoseModel.__init__.__globals__
ultralytics.utils.checks os.system|ultralytics.__init__ os|ultralytics..nn Conv|torch.nn.__builtins__ eval
torch.nn __init__|ultralyticsx.nn Conv|ultralytics PoseModel|__main__ Model|models.yolo Model
""".strip().replace("\n", "|").split("|")  # fmt: skip


def touch(canary: str, word: str) -> bytes:
    """The argument with which most of the above would create the canary."""
    if word in ("eval", "exec", "compile"):
        return text(f"open({canary!r}, 'w').close()")
    return text(f"touch {canary}")


def by_global(module: str, word: str) -> bytes:
    return name(module, word)


def by_stack(module: str, word: str) -> bytes:
    return text(module) + text(word) + b"\x93"


def by_memo(module: str, word: str) -> bytes:
    return text(module) + b"q\x01" + text(word) + b"q\x02" + text("a harmless name") + b"q\x03h\x01h\x02\x93"


def check_refused(data: bytes, canary, words: str = "") -> None:
    started = time.process_time()
    with pytest.raises(PoseError) as caught:
        unpickle.read_pickle(data, "evil.pt")
    assert time.process_time() - started < 5
    message = str(caught.value)
    assert message.startswith("evil.pt: ")
    assert "\n" not in message
    assert len(message) < 300
    assert words in message, message
    assert not canary.exists()


@pytest.mark.parametrize("spelled", [by_global, by_stack, by_memo], ids=["GLOBAL", "STACK_GLOBAL", "memo"])
@pytest.mark.parametrize("target", DANGEROUS, ids=lambda target: target.replace(" ", "."))
def test_dangerous_names_are_refused_and_named(target, spelled, tmp_path):
    canary = tmp_path / "canary"
    module, word = target.split(" ")
    data = HEAD + call(spelled(module, word), touch(str(canary), word)) + b"."
    check_refused(data, canary, f"'{module}.{word}'")


def tricks(canary: str) -> dict[str, tuple[bytes, str]]:
    """Ways to smuggle a call → (pickle, a part of the refusal)."""
    system, shell = name("posix", "system"), text(f"touch {canary}")
    getattr_, encode = name("builtins", "getattr"), name("_codecs", "encode")
    scalar, dtype = name("numpy.core.multiarray", "scalar"), name("numpy", "dtype")
    path, floats, size = name("pathlib", "PosixPath"), name("torch", "FloatStorage"), name("torch", "Size")
    a_class = name("ultralytics.nn.tasks", "PoseModel")
    return {
        "nested": (call(name("torch", "Size"), call(system, shell)), "posix.system"),
        "argument of a stand-in": (call(a_class, call(system, shell)), "posix.system"),
        "result called": (call(call(name("torch", "Size")), shell), "not a name"),
        "text called": (call(text("os.system"), shell), "not a name"),
        "stand-in called": (call(stand_in(), shell), "not a name"),
        "name as bytes": (b"C\x05posix" + b"C\x06system" + b"\x93" + shell + b"\x85R", "not text"),
        "name as a number": (b"K\x01K\x02\x93", "not text"),
        "INST": (b"(" + shell + b"iposix\nsystem\n", "opcode INST"),
        "OBJ": (b"(" + system + shell + b"o", "posix.system"),
        "OBJ of a stand-in": (b"(" + a_class + b"o", "opcode OBJ"),
        "NEWOBJ": (name("subprocess", "Popen") + shell + b"\x85\x81", "subprocess.Popen"),
        "NEWOBJ_EX": (a_class + b")}\x92", "opcode NEWOBJ_EX"),
        "EXT1": (b"\x82\x01)R", "opcode EXT1"),
        "EXT2": (b"\x83\x01\x00)R", "opcode EXT2"),
        "EXT4": (b"\x84\x01\x00\x00\x00)R", "opcode EXT4"),
        "PERSID": (b"Pos.system\n", "opcode PERSID"),
        "persistent text": (text("os.system") + b"Q", "persistent id"),
        "persistent name": (system + b"Q", "posix.system"),
        "persistent module": (b"(" + text("module") + text("a") + text("b.py") + shell + b"NtQ", "persistent id"),
        "storage of a class": (b"(" + text("storage") + a_class + text("0") + text("cpu") + b"K\x01tQ", "unknown type"),
        "storage of an object": (b"(" + text("storage") + b"}" + text("0") + text("cpu") + b"K\x01tQ", "unknown type"),
        "storage of no key": (b"(" + text("storage") + floats + b"K\x01" + text("cpu") + b"K\x01tQ", "key or size"),
        "storage of -1": (storage(-1), "key or size"),
        "getattr of a name": (call(getattr_, system, text("forward")), "posix.system"),
        "getattr of a torch name": (call(getattr_, size, text("forward")), "getattr"),
        "getattr of a class": (call(getattr_, a_class, text("mro")), "getattr"),
        "method called": (call(call(getattr_, a_class, text("forward")), shell), "not a name"),
        "getattr of a text": (call(getattr_, text("a"), text("forward")), "getattr"),
        "getattr __class__": (call(getattr_, stand_in(), text("__class__")), "getattr"),
        "getattr a path": (call(getattr_, stand_in(), text("forward.__globals__")), "getattr"),
        "codec rot13": (call(encode, text("bf.flfgrz"), text("rot13")), "codec"),
        "codec zlib": (call(encode, text("x"), text("zlib_codec")), "codec"),
        "codec no text": (call(encode, b"}", text("latin1")), "codec"),
        "BUILD of a name": (size + b"}" + text("__call__") + text("x") + b"sb", "attributes of a Name"),
        "BUILD of a list": (b"]}b", "attributes of a list"),
        "BUILD __setstate__": (stand_in() + b"}" + text("__setstate__") + system + b"sb", "posix.system"),
        "BUILD with slots": (stand_in() + b"}}\x86b", "attributes of a StandIn"),
        "BUILD of OrderedDict": (call(name("collections", "OrderedDict")) + b"Nb", "attributes of a dict"),
        "OrderedDict of pairs": (call(name("collections", "OrderedDict"), b"]"), "damaged"),
        "item of a stand-in": (stand_in() + text("a") + b"K\x01s", "items of a StandIn"),
        "append to a stand-in": (stand_in() + b"K\x01a", "appends to a StandIn"),
        "append to a tuple": (b")K\x01a", "appends to a tuple"),
        "add to a list": (b"](K\x01\x90", "adds to a list"),
        "a class as key": (b"}" + stand_in() + b"K\x01s", "key of type StandIn"),
        "a float as key": (b"}G" + bytes(8) + b"K\x01s", "key of type float"),
        "object array": (array("O8", raw(bytes(8)), 1), "plain numbers"),
        "object scalar": (call(scalar, call(dtype, text("O8"), b"\x89", b"\x88"), stand_in()), "plain numbers"),
        "array of a list": (array("f8", b"]", 0), "plain numbers"),
        "dtype of fields": (call(dtype, b"]", b"\x89", b"\x88"), "plain numbers"),
        "dtype by text": (call(dtype, text("f8,f8"), b"\x89", b"\x88"), "plain numbers"),
        "array of the wrong size": (array("f8", raw(bytes(16)), 3), "damaged"),
        "number type called": (call(name("torch", "FloatStorage"), number(1000)), "calls torch.FloatStorage"),
        "path of objects": (call(path, stand_in()), "path"),
        "set of lists": (call(name("builtins", "set"), b"]]a"), "key of type list"),
        "dill's types": (call(call(name("dill._dill", "_load_type"), text("FunctionType")), shell), "type by its name"),
        "dill's set of lists": (call(call(name("dill._dill", "_load_type"), text("set")), b"]]a"), "key of type list"),
        "set of a stand-in": (call(name("builtins", "set"), stand_in()), "no list"),
        "parameter of nothing": (call(name("torch._utils", "_rebuild_parameter"), b"N", b"\x88", b"}"), "no tensor"),
        "too few arguments": (call(name("torch._utils", "_rebuild_tensor_v2")), "damaged"),
        "more after the end": (b"N." + system + shell + b"\x85R", "does not end"),
        "bytearray": (b"\x96" + bytes(8), "opcode BYTEARRAY8"),
        "next buffer": (b"\x97", "opcode NEXT_BUFFER"),
    }  # fmt: skip


@pytest.mark.parametrize("trick", list(tricks("x")))
def test_malicious_pickles_are_refused(trick, tmp_path):
    canary = tmp_path / "canary"
    data, words = tricks(str(canary))[trick]
    check_refused(HEAD + data + b".", canary, words)


# No smuggled calls, but parts that are wrong or do not fit together → (pickle, a part of the refusal).
DAMAGE = {
    "tensor of no storage": (tensor(stand_in(), number(0), numbers(1), numbers(1)), "without a storage"),
    "tensor outside": (tensor(storage(4), number(0), numbers(5), numbers(1)), "outside its storage"),
    "tensor offset outside": (tensor(storage(4), number(4), numbers(1), numbers(1)), "outside its storage"),
    "tensor stride outside": (tensor(storage(4), number(0), numbers(2), numbers(4)), "outside its storage"),
    "tensor offset negative": (tensor(storage(4), number(-1), numbers(1), numbers(1)), "impossible"),
    "tensor size negative": (tensor(storage(4), number(0), numbers(-1), numbers(1)), "impossible"),
    "tensor stride negative": (tensor(storage(4), number(3), numbers(2), numbers(-1)), "impossible"),
    "tensor stride 0": (tensor(storage(1), number(0), numbers(1 << 40), numbers(0)), "outside its storage"),
    "tensor overflow": (tensor(storage(1), number(0), numbers(1 << 40, 1 << 40), numbers(0, 0)), "outside"),
    "tensor of floats": (tensor(storage(1), number(0), b"G" + bytes(8) + b"\x85", numbers(1)), "impossible"),
    "tensor of 9 axes": (tensor(storage(1), number(0), numbers(*[1] * 9), numbers(*[1] * 9)), "impossible"),
    "integer of 2,000 bits": (b"\x8a\xff" + b"\x7f" * 255, "bits"),
    "text length lie": (b"X\xff\xff\xff\xff", "damaged"),
    "text length 2**63": (b"\x8d" + b"\xff" * 7 + b"\x7f", "damaged"),
    "bytes length 2**64": (b"\x8e" + b"\xff" * 8, "damaged"),
    "integer length -1": (b"\x8b\xff\xff\xff\xff", "damaged"),
    "decimal of 10,000 digits": (b"I" + b"9" * 10_000 + b"\n", "opcode INT"),
    "unknown memo": (b"h\x07", "damaged"),
    "unknown opcode": (b"\xfe", "damaged"),
    "empty stack": (b"R", "takes more"),
    "no mark": (b"t", "damaged"),
    "open mark": (b"(N", "does not end"),
    "two values": (b"NN", "does not end"),
    "nothing": (b"", "does not end"),
}  # fmt: skip


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damaged_pickles_are_refused(damage, tmp_path):
    data, words = DAMAGE[damage]
    check_refused(HEAD + data + b".", tmp_path / "canary", words)


def test_pythons_own_unpickler_runs_the_code_of_these_pickles(tmp_path):
    """The control: the same bytes do run when they are loaded the ordinary way."""
    targets = ["os system", "posix system", "builtins eval", "builtins exec", "subprocess getoutput"]
    script = "import pickle, sys\nfor path in sys.argv[1:]: pickle.load(open(path, 'rb'))"
    for i, target in enumerate(targets):
        module, word = target.split(" ")
        data = HEAD + call(name(module, word), touch(str(tmp_path / f"canary{i}"), word)) + b"."
        (tmp_path / f"{i}.pkl").write_bytes(data)
    subprocess.run([sys.executable, "-c", script, *sorted(map(str, tmp_path.glob("*.pkl")))], check=True)
    assert len(list(tmp_path.glob("canary*"))) == len(targets)


def test_attributes_of_stand_ins_stay_data():
    """A state that would change classes or run code under Python is a dict like any other."""
    state = {"__class__": "os", "__dict__": {}, "__reduce__": "x", "__del__": "y"}
    inner = b"}(" + b"".join(text(key) + text(str(value)) for key, value in state.items()) + b"u"
    found = unpickle.read_pickle(HEAD + stand_in() + inner + b"b.", "x.pt")
    assert type(found) is StandIn
    assert found.kind == Name("ultralytics.nn.tasks", "PoseModel")
    assert found.state.keys() == state.keys()


def test_a_function_of_a_stand_in_package_is_only_recorded():
    found = unpickle.read_pickle(HEAD + call(name("ultralytics.utils", "subprocess"), text("touch x")) + b".", "x.pt")
    assert type(found) is StandIn
    assert found.args == ("touch x",)
    assert "ultralytics" not in sys.modules


def test_methods_of_stand_ins_are_only_recorded():
    """Fused layers hold `self.forward_fuse`, heads of version 8.0 `Detect.forward`."""
    for owner in (stand_in(), name("ultralytics.nn.modules.head", "Detect")):
        found = unpickle.read_pickle(
            HEAD + call(name("__builtin__", "getattr"), owner, text("forward_fuse")) + b".", "x.pt"
        )
        assert type(found) is StandIn
        assert found.args[1] == "forward_fuse"


def test_self_reference_is_data():
    found = unpickle.read_pickle(HEAD + b"]q\x00h\x00a.", "x.pt")
    assert found[0] is found
    found = unpickle.read_pickle(HEAD + b"}q\x00" + text("me") + b"h\x00s.", "x.pt")
    assert found["me"] is found


def test_values_that_double_by_references_cost_nothing_and_are_no_keys(tmp_path):
    """A billion laughs: 2**60 leaves by reference, which must be neither copied nor hashed."""
    laughs = b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
    started = time.process_time()
    assert len(unpickle.read_pickle(HEAD + laughs + b".", "x.pt")) == 2
    assert time.process_time() - started < 1
    check_refused(HEAD + b"}" + laughs + b"K\x01s.", tmp_path / "none", "key of type tuple")
    check_refused(HEAD + call(name("builtins", "set"), laughs) + b".", tmp_path / "none", "key of type tuple")
    check_refused(HEAD + call(name("_codecs", "encode"), text("x"), laughs) + b".", tmp_path / "none", "codec")
    check_refused(HEAD + call(name("numpy", "dtype"), laughs, b"\x89", b"\x88") + b".", tmp_path / "none", "plain")


def test_copying_one_value_again_and_again_ends(tmp_path):
    many = b"](" + b"".join(number(i) for i in range(5000)) + b"e\x85"
    sets = name("builtins", "set") + b"q\x00" + many + b"q\x01" + b"h\x00h\x01R" * 1000
    long = b"(" + text("x" * 5000) + text("latin1") + b"t"
    texts = name("_codecs", "encode") + b"q\x00" + long + b"q\x01" + b"h\x00h\x01R" * 1000
    arrays = array("u1", raw(bytes(5000)), 5000)[:-1] + b"q\x01b" + b"h\x01b" * 1000
    for data in (sets, texts, arrays):
        check_refused(HEAD + data + b".", tmp_path / "none", "copies more")


def test_an_array_with_an_endless_empty_shape_is_empty():
    found = unpickle.read_pickle(HEAD + array("f8", raw(b""), 1 << 30, 0) + b".", "x.pt")
    assert found.state["values"] == []


def test_limits_on_opcodes_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_OPCODES", 1000)
    check_refused(HEAD + b"N" * 1001 + b".", tmp_path / "none", "more than 1000 opcodes")
    monkeypatch.setattr(unpickle, "MAX_PICKLE", 500)
    check_refused(HEAD + b"N" * 501 + b".", tmp_path / "none", "more than 500")


def test_deeply_nested_lists_are_read_and_freed():
    deep = 200_000
    found = unpickle.read_pickle(HEAD + b"]" * deep + b"a" * (deep - 1) + b".", "x.pt")
    assert len(found) == 1


# --- what must be read right --------------------------------------------------------------------------------------


def module_pickle() -> bytes:
    """The pickle that torch writes for a small module, tensors included."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.SiLU()).half()
    buffer = io.BytesIO()
    torch.save({"model": net, "epoch": 3, "best": np.float64(0.5), "names": {0: "face"}}, buffer)
    return torch._C.PyTorchFileReader(io.BytesIO(buffer.getvalue())).get_record("data.pkl")


def test_a_saved_module_is_read_as_records():
    found = unpickle.read_pickle(module_pickle(), "x.pt")
    assert (found["epoch"], found["best"], found["names"]) == (3, 0.5, {0: "face"})
    net = found["model"]
    assert str(net.kind) == "torch.nn.modules.container.Sequential"
    weight = net.state["_modules"]["0"].state["_parameters"]["weight"]
    assert isinstance(weight, TensorView)
    assert (weight.shape, weight.stride, weight.storage.dtype) == ((2, 1, 3, 3), (9, 9, 3, 1), "float16")
    assert weight.storage.numel == 18


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_survive_every_protocol(protocol):
    value = {
        "a": [1, -2, 2**40, 2**100, 1.5, None, True],
        "b": (1, (2,), ()),
        3: "é\n",
        "set": {"x", 7},
        "raw": b"\x00\xff",
    }
    assert unpickle.read_pickle(pickle.dumps(value, protocol), "x.pt") == value


@pytest.mark.parametrize("protocol", [2, 4])
def test_reconstructed_values(protocol):
    def read(value):
        return unpickle.read_pickle(pickle.dumps(value, protocol), "x.pt")

    assert read(OrderedDict(a=1, b=2)) == {"a": 1, "b": 2}
    assert read(np.float32(1.5)) == 1.5
    assert read(np.int64(-7)) == -7
    assert read(np.arange(6, dtype=">i2").reshape(2, 3)).state["values"] == [[0, 1, 2], [3, 4, 5]]
    assert read(np.asfortranarray(np.arange(6.0).reshape(2, 3))).state["values"] == [[0, 1, 2], [3, 4, 5]]
    assert read(PosixPath("/data/a.yaml")) == "/data/a.yaml"
    assert read(PureWindowsPath("C:/data/a.yaml")) == "C:\\data\\a.yaml"
    assert read(torch.Size([1, 2])) == (1, 2)
    assert read(torch.device("cuda", 1)) == "cuda:1"
    assert str(read(torch.float16)) == "torch.float16"


def test_a_set_saved_with_dill_is_a_set():
    data = call(call(name("dill._dill", "_load_type"), text("set")), b"](K\x01K\x02e")
    assert unpickle.read_pickle(HEAD + data + b".", "x.pt") == {1, 2}


PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict, set, Name, StandIn, Storage, TensorView)


def walk(value, seen):
    """Every value within `value`, once."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, StandIn):
        inner = [value.kind, value.args, value.state]
    else:
        inner = value if isinstance(value, list | tuple | set) else []
    for item in inner:
        yield from walk(item, seen)


def test_mutated_pickles_never_escape():
    """Random damage gives a PoseError or data, never another exception or another type."""
    original = module_pickle()
    rng = random.Random(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1500):
        data = bytearray(original)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(data))
            if rng.random() < 0.6:
                data[at] = rng.randrange(256)
            elif rng.random() < 0.5:
                del data[at : at + rng.randrange(1, 9)]
            else:
                data[at:at] = data[rng.randrange(len(data)) :][: rng.randrange(1, 40)]
        try:
            found = unpickle.read_pickle(bytes(data), "x.pt")
            assert all(type(value) in PLAIN for value in walk(found, set()))
            outcomes["read"] += 1
        except PoseError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes


def test_cut_off_anywhere_is_refused():
    original = module_pickle()
    for end in range(0, len(original) - 1, 7):
        with pytest.raises(PoseError):
            unpickle.read_pickle(original[:end], "x.pt")


def test_the_list_of_names_imports_nothing():
    """Reading must not even import what a name stands for, whatever the list says."""
    script = (
        "import sys\nfrom yolopose.checkpoint import unpickle\n"
        "before = set(sys.modules)\n"
        "unpickle.read_pickle(bytes.fromhex(sys.argv[1]), 'x.pt')\n"
        "assert set(sys.modules) == before, set(sys.modules) - before"
    )
    subprocess.run([sys.executable, "-c", script, module_pickle().hex()], check=True)
    assert all(constructor.__module__ == records.__name__ for constructor in records.CONSTRUCTORS.values())
