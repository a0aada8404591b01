"""PoseNet: the network that a model YAML describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple
from zlib import crc32

import torch
from torch import Tensor, nn

from yolopose.errors import PoseError, first_line, one_line, shown
from yolopose.geometry.keypoints import KeypointLayout, default_layout
from yolopose.limits import MAX_CHANNELS, MAX_PARAMETERS, MAX_STRIDE, int_of
from yolopose.metadata import ModelInfo
from yolopose.nn import layers
from yolopose.nn.head import Maps, PoseHead, anchors
from yolopose.nn.spec import LayerRow, check_spec, read_rows, scale_channels, scale_factors

BLOCKS: dict[str, type[nn.Module]] = {
    name: getattr(layers, name) for name in ["Conv", "DWConv", "Focus", "Bottleneck", "C2f", "C2", "C3", "SPP", "SPPF"]
}
BUILD_ERRORS = (PoseError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, ArithmeticError)
MAX_CHECKED = 1 << 24  # numbers in a network's maps above which they are not checked
REPEATED_INSIDE = ("C2f", "C2", "C3")
OTHER_MODULES = ("Concat", "nn.Upsample", "Pose")
BRANCHES = {"cv2": "boxes", "cv3": "classes", "cv4": "keypoints"}  # of the head
MOST_NAMED = 6  # layers in a line


class Part(NamedTuple):
    """A built row: `args` as its module got them, and the channels and stride (in pixels) of its output."""

    row: LayerRow
    args: tuple[Any, ...]
    channels: int
    stride: int


class PoseNet(nn.Module):
    """The network of a specification; state-dict keys are `model.<row>.…`, as in existing checkpoints.

    `spec` is the specification with `scale`, `nc` and `kpt_shape` as built, `info` the metadata, `parts` the rows.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        names: Mapping[int, str] | None = None,
        layout: KeypointLayout | None = None,
        channels: int = 3,
    ) -> None:
        """`names` and `layout` replace the specification's `nc` and `kpt_shape`.

        Raises:
            PoseError: naming the file and the row that cannot be built.
        """
        super().__init__()
        given = dict(spec)
        if names is not None:
            given["nc"] = len(names)
        if layout is not None:
            given["kpt_shape"] = list(layout.shape)
        self.spec = check_spec(given)
        channels = int_of(channels, f"{self.spec['yaml_file']}: ch", 1, MAX_CHANNELS)
        _check_size(self.spec, channels)
        modules, self.parts = build_modules(self.spec, channels)
        self.model = nn.Sequential(*modules)
        self.channels = channels
        k, d = self.spec["kpt_shape"]
        self.info = ModelInfo(
            names=dict(names or {i: f"class{i}" for i in range(self.spec["nc"])}),
            layout=layout or default_layout((k, d)),
            stride=max(self.head.strides),
        )
        self.args: dict[str, Any] = {}  # of the training, as its checkpoint has them
        self._kept = {source for part in self.parts for source in part.row.sources}

    @property
    def head(self) -> PoseHead:
        """The last module."""
        head = self.model[-1]
        assert isinstance(head, PoseHead)
        return head

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.info.names

    @property
    def kpt_shape(self) -> tuple[int, int]:
        """(K, D)."""
        return self.info.kpt_shape

    @property
    def yaml(self) -> dict[str, Any]:
        """`spec` under the name that scripts for Ultralytics read."""
        return self.spec

    @property
    def stride(self) -> Tensor:
        """(levels,) float32: pixels per cell of each level."""
        return torch.tensor(self.head.strides, dtype=torch.float32)

    def features(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB 0..1 → the inputs of the head, one (B, c, H, W) per level."""
        kept: dict[int, Tensor] = {}
        for index, (part, module) in enumerate(zip(self.parts[:-1], self.model, strict=False)):
            inputs = [x if source == index - 1 else kept[source] for source in part.row.sources]
            x = module(inputs if isinstance(module, layers.Concat) else inputs[0])
            if index in self._kept:
                kept[index] = x
        return [kept[source] for source in self.parts[-1].row.sources]

    def maps(self, x: Tensor) -> Maps:
        """(B, 3, H, W) RGB 0..1 → raw maps."""
        maps: Maps = self.head(self.features(x))
        return maps

    def candidates(self, x: Tensor, conf: float) -> list[Tensor]:
        """(B, 3, H, W) RGB 0..1 → per image the (M, 4+C+K·D) rows of the decoded output scoring above `conf`."""
        return self.head.candidates(self.features(x), conf)

    def decode(self, maps: Maps) -> Tensor:
        """Raw maps → (B, 4+C+K·D, A) float32: cx cy w h in input pixels, class scores, keypoints x y [visibility]."""
        return self.head.decode(maps)

    def forward(self, x: Tensor) -> Maps | Tensor:
        """(B, 3, H, W) RGB 0..1 → raw maps in training mode, the decoded tensor otherwise."""
        maps = self.maps(x)
        return maps if self.training else self.decode(maps)

    def fuse(self) -> PoseNet:
        """Fold every batch normalisation into its convolution, in place; the network is then for inference only."""
        for module in self.modules():
            if isinstance(module, layers.Conv):
                module.fuse()
        return self.requires_grad_(False).eval()

    @torch.no_grad()
    def fold_pixels(self) -> bool:
        """Let the first convolution take BGR 0..255, as images are decoded; False if the first row cannot."""
        first = self.model[0].conv if isinstance(self.model[0], layers.Focus) else self.model[0]
        if not isinstance(first, layers.Conv) or first.conv.groups > 1 or self.channels != 3:
            return False
        weight = first.conv.weight  # (c2, 3, k, k), or (c2, 4·3, k, k) after Focus
        folded = weight.reshape(len(weight), -1, 3, *weight.shape[2:]).flip(2).reshape(weight.shape) / 255
        first.conv.weight = nn.Parameter(folded, requires_grad=False)
        return True

    def fix_anchors(self, imgsz: tuple[int, int] | None) -> PoseNet:
        """Decode with the anchors of one input size (H, W) as constants; None computes them from the shapes again.

        For exporters that cannot compute shapes. Call it after the network is on its device.
        """
        head = self.head
        head.fixed_anchors = None
        if imgsz is not None:
            device = next(self.parameters()).device
            levels = [torch.empty(1, 0, imgsz[0] // s, imgsz[1] // s, device=device) for s in head.strides]
            head.fixed_anchors = anchors(levels, head.strides)
        return self


@torch.no_grad()
def check_maps(network: PoseNet) -> PoseNet:
    """`network`, in evaluation mode, after a forward pass of a blank image of one cell at its largest stride.

    Raises:
        PoseError: maps that are joined do not fit one another; naming the file.
    """
    side = network.info.stride
    if sum(part.channels * (side // part.stride) ** 2 for part in network.parts[:-1]) > MAX_CHECKED:
        return network.eval()  # the largest of YOLOv8-pose has a hundredth of it
    try:
        network.eval()(torch.zeros(1, network.channels, side, side))
    except RuntimeError as error:
        raise PoseError(f"{network.spec['yaml_file']}: its maps do not fit one another: {first_line(error)}") from None
    return network


def _check_size(spec: Mapping[str, Any], channels: int) -> None:
    """Raise PoseError for a network of more than `MAX_PARAMETERS`, before any memory is taken for it."""
    if torch.get_default_device().type == "meta":
        return  # nothing is taken
    with torch.device("meta"):
        modules, _ = build_modules(spec, channels)
    count = sum(p.numel() for module in modules for p in module.parameters())
    if count > MAX_PARAMETERS:
        raise PoseError(f"{spec['yaml_file']}: the network has {count} parameters, more than {MAX_PARAMETERS}")


def build_modules(spec: Mapping[str, Any], channels: int) -> tuple[list[nn.Module], list[Part]]:
    """The modules of a checked specification and their rows as built. Raises PoseError naming file and row."""
    rows = read_rows(spec)
    image = Part(rows[0], (), channels, 1)
    modules, parts = list[nn.Module](), list[Part]()
    for row in rows:
        if (row.module == "Pose") != (row is rows[-1]):
            raise row.error("exactly one Pose, as the last row of the head, ends a network")
        inputs = [image if source < 0 else parts[source] for source in row.sources]
        try:
            module, part = _build_row(row, inputs, spec)
        except BUILD_ERRORS as error:
            if str(error).startswith(row.where):
                raise
            raise row.error(f"{row.module} cannot be made from these arguments ({one_line(error)})") from None
        sound = type(part.stride) is int and 0 < part.stride <= MAX_STRIDE and 0 < part.channels <= MAX_CHANNELS
        if row is not rows[-1] and not sound:
            raise row.error(f"its output has stride {part.stride} and {part.channels} channels")
        modules.append(module)
        parts.append(part)
    return modules, parts


def _build_row(row: LayerRow, inputs: Sequence[Part], spec: Mapping[str, Any]) -> tuple[nn.Module, Part]:
    c1, stride = inputs[0].channels, inputs[0].stride
    if row.module in BLOCKS:
        return _build_block(row, c1, stride, spec)
    if row.module == "Concat":
        if len({part.stride for part in inputs}) > 1:
            raise row.error(f"joins maps of different strides: {[part.stride for part in inputs]}")
        if row.args not in ((), (1,)):
            raise row.error("joins channels only: its arguments are [1]")
        return layers.Concat(), Part(row, row.args, sum(part.channels for part in inputs), stride)
    if row.module == "nn.Upsample":
        factor = int_of(row.args[1], "the factor", -MAX_STRIDE, MAX_STRIDE)
        if factor < 1 or stride % factor:
            raise row.error(f"cannot enlarge a map of stride {stride} {factor} times")
        return nn.Upsample(*row.args), Part(row, row.args, c1, stride // factor)
    if row.module == "Pose":
        if row.args != (spec["nc"], spec["kpt_shape"]):
            raise row.error("the arguments of Pose are [nc, kpt_shape]")
        head = PoseHead([part.channels for part in inputs], spec["nc"], tuple(spec["kpt_shape"]))
        head.strides = tuple(part.stride for part in inputs)
        head.init_biases()
        return head, Part(row, (*row.args, [part.channels for part in inputs]), 0, 0)
    raise row.error(f"unknown module {shown(row.module)}; known are {', '.join((*BLOCKS, *OTHER_MODULES))}")


def _build_block(row: LayerRow, c1: int, stride: int, spec: Mapping[str, Any]) -> tuple[nn.Module, Part]:
    _, width, limit = scale_factors(spec)
    block = BLOCKS[row.module]
    given = int_of(row.args[0], "channels", 1, MAX_CHANNELS)
    c2 = int_of(scale_channels(given, width, limit), "channels times width", 1, MAX_CHANNELS)
    if row.module in REPEATED_INSIDE:
        args = (c1, c2, row.repeats, *row.args[1:])
        module = block(*args)
    else:
        args = (c1, c2, *row.args[1:])
        copies = [block(c, *args[1:]) for c in (c1, *[c2] * (row.repeats - 1))]
        module = copies[0] if row.repeats == 1 else nn.Sequential(*copies)
    return module, Part(row, args, c2, stride * _reduction(module))


def _reduction(module: nn.Module) -> int:
    """How many input pixels, per side, become one; strides multiply because no block has them on parallel paths."""
    factors = (m.stride[0] for m in module.modules() if isinstance(m, nn.Conv2d))
    return prod(factors) * prod(2 for m in module.modules() if isinstance(m, layers.Focus))


def checksum(model: nn.Module) -> int:
    """CRC-32 of all weights and buffers of the model."""
    total = 0
    for value in model.state_dict().values():
        total = crc32(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), total)
    return total


def transfer(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Load the entries of `state` whose name and shape the model has → (loaded, entries of the model)."""
    own = model.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return len(fitting), len(own)


def unfitting(model: PoseNet, state: Mapping[str, Tensor]) -> str | None:
    """One line on the layers that `transfer` leaves as they are, for lack of an entry of that name and shape.

    Branches of the head are named one by one; None when everything fits.
    """
    own, head = model.state_dict(), len(model.model) - 1
    left = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    total, missing = (Counter(_layer_of(key, head) for key in keys) for keys in (own, left))
    if not missing:
        return None
    named = [f"{layer} ({count} of {total[layer]} entries)" for layer, count in missing.items()]
    more = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    count = "1 layer does not fit and is" if len(named) == 1 else f"{len(named)} layers do not fit and are"
    return f"{count} left out: {', '.join(named[:MOST_NAMED])}{more}"


def _layer_of(key: str, head: int) -> str:
    """The layer of an entry of a state dict, or the branch of the head with what it predicts."""
    words = key.split(".")
    branch = BRANCHES.get(words[2]) if words[:2] == ["model", str(head)] else None
    return f"{'.'.join(words[:3])}, {branch}" if branch else ".".join(words[:2])
