"""Walking figures: a skeleton of the 17 COCO points in three dimensions, seen by a camera, hidden by others, drawn.

A figure has its own height, width, gait and way of holding its arms. Lengths of the body are shares of its height
(Winter, Biomechanics and Motor Control of Human Movement, 2009, figure 4.1). The gait is a sine of the thigh with the
knee bent in the swing phase, and the arms opposite: enough for boxes that change with each step and points that swing
as in a video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTH, HEIGHT = 1280, 720
FOCAL = 1000.0  # pixels
LIMBS = ((5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16))
RADII = (0.05, 0.035, 0.03, 0.035, 0.03, 0.07, 0.07, 0.07, 0.055, 0.045, 0.055, 0.045)  # of the limbs, shares of height
HEAD = 0.085  # radius of the head
FACE = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Style:
    """What tells one figure from another."""

    height: float  # metres
    width: float  # of shoulders and hips, times the usual
    step: float  # length of a step, shares of height
    phase: float  # of the gait at the start
    swing: float  # of the arms, times the usual
    arms: tuple[float, float]  # how far the forearms are bent, radians
    raised: tuple[float, float, float]  # raising an arm: amplitude (radians), frequency (Hz), phase
    lean: float  # forward, radians
    colours: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # head, upper, lower


def random_style(rng: np.random.Generator, similar: float = 0.0) -> Style:
    """A figure's style; `similar` from 0 to 1 draws all towards the same average figure."""
    wide = 1 - similar
    colours = tuple(tuple(int(v) for v in rng.integers(20, 235, 3)) for _ in range(3))
    raised = (float(rng.uniform(0.6, 2.2)) * float(rng.random() < 0.35), float(rng.uniform(0.2, 0.8)))
    return Style(
        1.72 + wide * float(rng.normal(0, 0.08)),
        1 + wide * float(rng.normal(0, 0.08)),
        0.41 + wide * float(rng.normal(0, 0.03)),
        float(rng.uniform(0, 2 * np.pi)),
        float(rng.uniform(0.3, 1.2)),
        (float(rng.uniform(0.1, 1.5)), float(rng.uniform(0.1, 1.5))),
        (*raised, float(rng.uniform(0, 2 * np.pi))),
        float(rng.normal(0.03, 0.04)),
        (colours[0], colours[1], colours[2]),
    )


def skeleton(style: Style, walked: Array, speed: Array, time: Array) -> Array:
    """(T,) metres walked, (T,) metres a second, (T,) seconds → (T, 17, 3) left, forward, up; shares of height."""
    t = len(time)
    phase = style.phase + np.pi * walked / (style.step * style.height)
    size = 0.45 * np.clip(speed / 1.3, 0, 1.4)  # of the thigh's swing, radians
    sway = 0.01 * np.sin(0.9 * time + style.phase)
    out = np.zeros((t, 17, 3))

    def put(index: int, left: Array | float, forward: Array | float, up: Array | float) -> None:
        out[:, index] = np.stack(np.broadcast_arrays(left + sway, forward, up, time)[:3], -1)

    bob = 0.012 * np.cos(2 * phase) * size - 0.02 * size
    hips, shoulders = 0.53 + bob, 0.82 + bob
    lean = np.sin(style.lean) * 0.29
    for sign, knee_index in ((1, 13), (-1, 14)):
        leg = phase if sign > 0 else phase + np.pi
        thigh = size * np.sin(leg)
        bend = size * 1.3 * np.clip(np.cos(leg), 0, None) + 0.05
        hip = 0.085 * style.width * sign
        knee = (0.245 * np.sin(thigh), hips - 0.245 * np.cos(thigh))
        shank = thigh - bend
        put(11 + (sign < 0), hip, 0.0, hips)
        put(knee_index, hip, *knee)
        put(knee_index + 2, hip, knee[0] + 0.246 * np.sin(shank), np.maximum(knee[1] - 0.246 * np.cos(shank), 0.035))
    for sign, shoulder_index in ((1, 5), (-1, 6)):
        arm = -(phase if sign > 0 else phase + np.pi)
        upper = 0.8 * size * style.swing * np.sin(arm)
        amplitude, rate, begun = style.raised
        lift = amplitude * np.clip(np.sin(2 * np.pi * rate * time / 2 + begun), 0, None) if sign > 0 else 0 * time
        shoulder = 0.125 * style.width * sign
        elbow = np.stack([shoulder + 0.186 * np.sin(0.1 + lift) * sign, lean + 0.186 * np.sin(upper),
                          shoulders - 0.186 * np.cos(upper) * np.cos(lift)], -1)  # fmt: skip
        fore = upper + style.arms[sign < 0]
        wrist = elbow + np.stack([0.13 * np.sin(lift * 1.4) * sign, 0.146 * np.sin(fore),
                                  -0.146 * np.cos(fore) * np.cos(lift * 1.4)], -1)  # fmt: skip
        put(shoulder_index, shoulder, lean, shoulders)
        put(shoulder_index + 2, elbow[:, 0], elbow[:, 1], elbow[:, 2])
        put(shoulder_index + 4, wrist[:, 0], wrist[:, 1], wrist[:, 2])
    for index, left, forward, up in ((0, 0, 0.09, 0.925), (1, 0.02, 0.075, 0.942), (2, -0.02, 0.075, 0.942),
                                     (3, 0.045, 0.0, 0.935), (4, -0.045, 0.0, 0.935)):  # fmt: skip
        put(index, left, lean * 1.4 + forward, up + bob)
    return out


@dataclass(frozen=True)
class Camera:
    """Where the camera stands: metres above the ground, and the image row of the horizon."""

    height: float = 2.4
    horizon: float = 190.0


def seen(points: Array, place: Array, heading: Array, tall: float, camera: Camera) -> tuple[Array, Array]:
    """(T, N, 3) in the body, (T, 2) metres right and away, (T,) radians → (T, N, 2) pixels, (T,) pixels per metre.

    A heading of 0 walks to the right, of π/2 away from the camera.
    """
    forward = np.stack([np.cos(heading), np.sin(heading)], -1)[:, None]  # right, away
    left = np.stack([-np.sin(heading), np.cos(heading)], -1)[:, None]
    ground = place[:, None] + tall * (points[..., :1] * left + points[..., 1:2] * forward)
    gain = FOCAL / np.maximum(ground[..., 1], 0.5)
    x = WIDTH / 2 + gain * ground[..., 0]
    y = camera.horizon + gain * (camera.height - tall * points[..., 2])
    return np.stack([x, y], -1), FOCAL / np.maximum(place[:, 1], 0.5)


def box_of(points: Array, pixels: Array) -> Array:
    """(T, 17, 2) pixels and (T,) pixels of the figure's height → (T, 4) its box x1 y1 x2 y2."""
    margin = pixels[:, None] * 0.04
    low, high = points.min(1) - margin, points.max(1) + margin
    low[:, 1] = np.minimum(low[:, 1], points[:, 0, 1] - 0.09 * pixels)  # the top of the head
    high[:, 1] = np.maximum(high[:, 1], points[:, 15:, 1].max(1) + 0.045 * pixels)  # the soles
    return np.concatenate([low, high], 1)


def body(points: Array) -> Array:
    """(…, 17, 2) → (…, 29, 2): the points, the middles of the limbs; what is looked at for being hidden."""
    a, b = np.array(LIMBS).T
    return np.concatenate([points, (points[..., a, :] + points[..., b, :]) / 2], -2)


def inside(samples: Array, points: Array, pixels: Array) -> Array:
    """(N, S, 2) places, (N, 17, 2) figures in front, (N,) their pixels of height → (N, S) bool, hidden by them."""
    a, b = points[:, [i for i, _ in LIMBS]], points[:, [j for _, j in LIMBS]]  # (N, 12, 2)
    ab = (b - a)[:, None]
    ap = samples[:, :, None] - a[:, None]  # (N, S, 12, 2)
    along = np.clip((ap * ab).sum(-1) / np.maximum((ab**2).sum(-1), 1e-6), 0, 1)
    far2 = ((ap - along[..., None] * ab) ** 2).sum(-1)
    hidden = (far2 < (np.array(RADII) * pixels[:, None])[:, None] ** 2).any(-1)
    head = points[:, FACE].mean(1)
    hidden |= ((samples - head[:, None]) ** 2).sum(-1) < (HEAD * pixels[:, None]) ** 2
    return np.asarray(hidden | torso(samples, points))


def torso(samples: Array, points: Array) -> Array:
    """(N, S, 2), (N, 17, 2) → (N, S) bool: between shoulders and hips."""
    corners = points[:, [5, 6, 12, 11]]
    side = np.roll(corners, -1, 1) - corners  # (N, 4, 2)
    to = samples[:, :, None] - corners[:, None]
    cross = side[:, None, :, 0] * to[..., 1] - side[:, None, :, 1] * to[..., 0]
    return np.asarray((cross > 0).all(-1) | (cross < 0).all(-1))


def draw(image: Array, points: Array, pixels: float, style: Style) -> None:
    """Draw a figure into the (H, W, 3) image; stripes give it a texture."""
    p = np.round(points).astype(int)
    for (i, j), radius in zip(LIMBS, RADII, strict=True):
        colour = style.colours[1 if i < 11 else 2]
        cv2.line(image, p[i].tolist(), p[j].tolist(), colour, max(1, int(2 * radius * pixels)))
    upper = p[[5, 6, 12, 11]]
    cv2.fillConvexPoly(image, upper, style.colours[1])
    for share in np.linspace(0.15, 0.85, 4):
        a, b = upper[0] + (upper[3] - upper[0]) * share, upper[1] + (upper[2] - upper[1]) * share
        cv2.line(image, a.astype(int).tolist(), b.astype(int).tolist(), style.colours[2], max(1, int(pixels * 0.02)))
    head = p[list(FACE)].mean(0).astype(int)
    cv2.circle(image, head.tolist(), max(1, int(HEAD * pixels)), style.colours[0], -1)
