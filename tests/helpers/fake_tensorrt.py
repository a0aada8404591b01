"""A fake tensorrt module: its engines are ONNX models, which ONNX Runtime runs on memory addresses.

It follows TensorRT's documented interface as far as the package uses it. A plan is `PLAN`, the shapes of its
optimisation profile as JSON in one line, and the model.
"""

import ctypes
import json
import types
from enum import Enum, IntEnum
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

MAGIC = b"PLAN"
TYPES = {"tensor(float)": ("FLOAT", np.float32), "tensor(float16)": ("HALF", np.float16)}


class DataType(Enum):
    FLOAT, HALF, INT8 = range(3)


class TensorIOMode(Enum):
    NONE, INPUT, OUTPUT = range(3)


class Context:
    def __init__(self, engine: "Engine") -> None:
        self.engine, self.shape, self.addresses = engine, (), {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.profile or (self.engine.get_tensor_shape(name),) * 3
        self.shape = shape
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        kind = self.engine.sides["images"][1]
        found = self.engine.session.run([name], {"images": np.zeros(self.shape, kind)})[0]
        return found.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        self._memory("output0", self.get_tensor_shape("output0"))[:] = self.engine.session.run(
            ["output0"], {"images": self._memory("images", self.shape)}
        )[0]
        return True

    def _memory(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = np.dtype(self.engine.sides[name][1])
        block = (ctypes.c_char * (int(np.prod(shape)) * kind.itemsize)).from_address(self.addresses[name])
        return np.frombuffer(block, kind).reshape(shape)


class Engine:
    def __init__(self, plan: bytes) -> None:
        profile, _, model = plan.removeprefix(MAGIC).partition(b"\n")
        self.profile = json.loads(profile)
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        values = (*self.session.get_inputs(), *self.session.get_outputs())
        self.sides = {value.name: TYPES[value.type] for value in values}
        self.shapes = {value.name: [n if isinstance(n, int) else -1 for n in value.shape] for value in values}
        self.num_io_tensors = len(values)

    def get_tensor_name(self, index: int) -> str:
        return list(self.sides)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "images" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.sides[name][0]]

    def get_tensor_profile_shape(self, name: str, index: int) -> list[list[int]]:
        assert (name, index) == ("images", 0)
        return self.profile

    def create_execution_context(self) -> Context:
        return Context(self)


class Parser:
    num_errors = 1

    def __init__(self, network: Any, logger: Any) -> None:
        self.network = network

    def parse(self, model: bytes) -> bool:
        self.network.model = model
        return not self.network.trt.unreadable

    def get_error(self, index: int) -> Any:
        assert index == 0
        return SimpleNamespace(desc=lambda: "no importer for operator X\n(node 3)")


class Settings:
    def __init__(self) -> None:
        self.cleared: list[Any] = []
        self.limits: dict[Any, int] = {}
        self.profiles: list[Any] = []
        self.clear_flag = self.cleared.append
        self.set_memory_pool_limit = self.limits.__setitem__
        self.add_optimization_profile = self.profiles.append


class Builder:
    def __init__(self, trt: Any) -> None:
        self.trt = trt

    def create_network(self, flags: int) -> Any:
        self.trt.flags = flags
        return SimpleNamespace(model=b"", trt=self.trt, get_input=lambda index: SimpleNamespace(name="images"))

    def create_builder_config(self) -> Settings:
        self.trt.settings = Settings()
        return self.trt.settings

    def create_optimization_profile(self) -> Any:
        profile: dict[str, Any] = {}
        return SimpleNamespace(shapes=profile, set_shape=lambda name, *shapes: profile.__setitem__(name, shapes))

    def build_serialized_network(self, network: Any, settings: Settings) -> bytes | None:
        if self.trt.unbuildable:
            return None
        profile = settings.profiles[0].shapes["images"] if settings.profiles else None
        return MAGIC + json.dumps(profile).encode() + b"\n" + network.model


class Logger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        assert severity == self.ERROR


def tensorrt() -> Any:
    """The module; `unreadable` and `unbuildable` let it fail, `flags` and `settings` are what it was last given."""
    module: Any = types.ModuleType("tensorrt")
    module.__version__ = "10.9"
    module.__spec__ = ModuleSpec("tensorrt", None)  # torch looks whether it is there
    module.unreadable = module.unbuildable = False
    module.Logger, module.DataType, module.TensorIOMode, module.OnnxParser = Logger, DataType, TensorIOMode, Parser
    module.Builder = lambda logger: Builder(module)
    module.Runtime = lambda logger: SimpleNamespace(
        deserialize_cuda_engine=lambda plan: Engine(plan) if plan.startswith(MAGIC) else None
    )
    module.BuilderFlag = SimpleNamespace(TF32="TF32")
    module.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    module.NetworkDefinitionCreationFlag = IntEnum("Flag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
    return module
