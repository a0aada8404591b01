"""Mark boxes to ignore in a picture of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIPE = 8  # pixels from one stripe to the next


def draw_ignored(image: NDArray[np.uint8], boxes: NDArray[Any]) -> None:
    """Stripe the boxes (M, 4) xyxy in pixels with grey, in place, so that what is below stays visible."""
    for x1, y1, x2, y2 in np.round(boxes[:, :4]).astype(int).tolist():
        part = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        y, x = np.indices(part.shape[:2])
        part[(x + y) % STRIPE == 0] = 128
