"""Convert images in memory (NumPy arrays, PIL images, torch tensors) to HWC BGR uint8 arrays.

Neither PIL nor torch is imported: their objects are recognised by the module of their class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, one_line


def to_bgr(image: Any, name: str = "image") -> list[NDArray[np.uint8]]:
    """One image or a batch in memory → a list of (H, W, 3) BGR arrays; an array of that form is not copied.

    NumPy: (H, W), (H, W, 1), (H, W, 3) BGR, (H, W, 4) BGRA or a batch (B, H, W, C). torch: (C, H, W) or (B, C, H, W),
    RGB. PIL: any mode. Samples: uint8; uint16 keeps its upper 8 bits; bool; floating-point numbers in 0..1. Nothing is
    rotated: an EXIF orientation that PIL has not applied is not applied here either. Raises PoseError.
    """
    family = picture_family(image)
    if family is None:
        raise PoseError(f"{name}: expected a NumPy array, PIL image or torch tensor, not {type(image).__name__}")
    samples = {"numpy": lambda array, _: array, "torch": _tensor_samples, "PIL": _pil_samples}[family](image, name)
    batch = samples if samples.ndim == 4 else samples[None]
    return [_bgr(_uint8(picture, name), family != "numpy", name) for picture in batch]


def picture_family(value: Any) -> str | None:
    """The library of an image in memory, "numpy", "torch" or "PIL"; None for any other value."""
    if isinstance(value, np.ndarray):
        return "numpy"
    classes = {(base.__module__.partition(".")[0], base.__name__) for base in type(value).__mro__}
    if ("torch", "Tensor") in classes:
        return "torch"
    return "PIL" if ("PIL", "Image") in classes else None


def _tensor_samples(tensor: Any, name: str) -> NDArray[Any]:
    """(C, H, W) or (B, C, H, W) tensor on any device → the same samples as an array with the channels last."""
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3):
        raise PoseError(f"{name}: tensor of shape {tuple(tensor.shape)}, expected (B, 3, H, W) in RGB")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    array: NDArray[Any] = tensor.numpy()
    return np.moveaxis(array, -3, -1)


def _pil_samples(picture: Any, name: str) -> NDArray[Any]:
    try:
        deep = picture.mode[0] in "IF"  # 16- and 32-bit grey, which PIL's own conversion would clip
        return np.asarray(picture if deep else picture.convert("RGB"))
    except (OSError, ValueError) as error:  # PIL decodes lazily
        raise PoseError(f"{name}: PIL cannot decode it ({one_line(error)})") from None


def _uint8(samples: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Samples of any type → uint8 0..255."""
    if samples.dtype == np.uint8:
        return samples
    if not samples.size:
        raise PoseError(f"{name}: empty picture of shape {samples.shape}")
    if samples.dtype.kind == "u" and samples.itemsize == 2:  # in either byte order
        return (samples >> 8).astype(np.uint8)
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * np.uint8(255)
    low, high = samples.min(), samples.max()
    if samples.dtype.kind in "iu" and low >= 0 and high <= 255:
        return samples.astype(np.uint8)
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:  # false for NaN as well
        return (samples * 255 + 0.5).astype(np.uint8)
    wanted = "0..1 (divide by 255, or pass uint8)" if samples.dtype.kind == "f" else "0..255"
    raise PoseError(f"{name}: {samples.dtype} samples run from {low} to {high}, expected {wanted}")


def _bgr(samples: NDArray[np.uint8], rgb: bool, name: str) -> NDArray[np.uint8]:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) → contiguous (H, W, 3) in BGR."""
    if samples.ndim not in (2, 3) or (samples.ndim == 3 and samples.shape[2] not in (1, 3, 4)):
        hint = "; put the channels last" if samples.ndim == 3 and samples.shape[0] in (1, 3, 4) else ""
        raise PoseError(f"{name}: array of shape {samples.shape}, expected (H, W, 3) in BGR{hint}")
    if not samples.size:
        raise PoseError(f"{name}: empty picture of shape {samples.shape}")
    if samples.ndim == 2 or samples.shape[2] == 1:
        return np.repeat(samples.reshape(*samples.shape[:2], 1), 3, axis=2)
    colours = samples[..., 2::-1] if rgb else samples[..., :3]
    return np.ascontiguousarray(colours)
