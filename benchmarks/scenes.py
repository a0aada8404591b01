"""Synthetic scenes with exact truth for trackers: who is where in every frame, and the detections of it.

    scene = make_scene("crossing", seed=3)
    for t in range(len(scene.frames)):
        frame, image = scene.frames[t], scene.image(t)  # image is None where the camera stands still

Figures (`figures.py`) of known identity walk on the ground before a camera, 1280 x 720 at 30 frames a second. Nearer
ones and walls hide farther ones. Detections follow `observe.py`. A truth counts in a frame when at least a quarter of
its body is in the image and not hidden; its box is that of the whole body, cut at the image's edge, as in MOTChallenge.

Each situation has two kinds of scene: parameters are tuned on the kinds of TUNING with the seeds TUNING_SEEDS and
reported on the kinds of REPORTING with REPORTING_SEEDS. Nothing was tuned on a reporting kind or seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from figures import HEIGHT, WIDTH, Camera, Style, body, box_of, draw, inside, random_style, seen, skeleton
from numpy.typing import NDArray
from observe import Bodies, Frame, Noise, observed

Array = NDArray[Any]
RATE = 30
PHOTOGRAPHS = Path(__file__).resolve().parents[1] / "yolopose" / "assets" / "samples" / "images"
TUNING = ("crossing", "pillar", "edge", "pan", "crowd5", "crowd30")
REPORTING = ("meeting", "overtaking", "wall", "handheld", "crowd5b", "crowd30b", "crowd100")
SITUATIONS = {
    "crossings": ("crossing", "meeting"),
    "occlusion": ("pillar", "overtaking"),
    "re-entry": ("edge", "wall"),
    "moving camera": ("pan", "handheld"),
    "crowds": ("crowd5", "crowd30", "crowd5b", "crowd30b", "crowd100"),
}
TUNING_SEEDS = range(12)
REPORTING_SEEDS = range(100, 112)
LEAST_SEEN = 0.25  # of a body, for its truth to count


@dataclass(frozen=True)
class Walk:
    """A figure's way: (T, 2) metres right and away, (T,) heading in radians."""

    place: Array
    heading: Array
    style: Style


@dataclass(frozen=True)
class Wall:
    """Something that hides: metres from `left` to `right`, `away` from the camera, `tall` above the ground."""

    left: float
    right: float
    away: float
    tall: float = 2.6


@dataclass
class Plan:
    """What a kind of scene consists of."""

    walks: list[Walk]
    walls: list[Wall] = field(default_factory=list)
    camera: Camera = field(default_factory=Camera)
    motion: Array | None = None  # (T, 2, 3) from the resting camera's pixels to the moving one's


@dataclass
class Scene:
    """Frames with truth and detections; `image(t)` draws the picture where the camera moves."""

    kind: str
    seed: int
    frames: list[Frame]
    _draw: Callable[[int], Array] | None = None

    def image(self, t: int) -> Array | None:
        """The (720, 1280, 3) BGR picture of frame t, or None: nothing to compensate for."""
        return None if self._draw is None else self._draw(t)


def walk(points: list[tuple[float, float, float]], frames: int, rng: np.random.Generator, speed: float) -> Walk:
    """Walk from one (right, away, pause in seconds) to the next; at the end stand."""
    place = [np.array(points[0][:2])] * max(1, int(points[0][2] * RATE))
    for (ax, az, _), (bx, bz, pause) in itertools.pairwise(points):
        steps = max(2, int(np.hypot(bx - ax, bz - az) / speed * RATE))
        place += list(np.linspace([ax, az], [bx, bz], steps)) + [np.array([bx, bz])] * int(pause * RATE)
    path = np.array((place + [place[-1]] * frames)[:frames])
    kernel = np.hanning(15) / np.hanning(15).sum()
    padded = np.pad(path, ((7, 7), (0, 0)), mode="edge")
    path = np.stack([np.convolve(padded[:, i], kernel, mode="valid") for i in range(2)], 1)
    path += drift(frames, 2, rng, 0.03, 1.5)
    return Walk(path, headings(path, rng), random_style(rng))


def headings(path: Array, rng: np.random.Generator) -> Array:
    """(T,) where a figure on its way looks; one that stands keeps its heading and turns a little."""
    step = np.gradient(path, axis=0) * RATE
    heading = np.zeros(len(path))
    last = rng.uniform(-np.pi, np.pi) if np.hypot(*step[0]) < 0.25 else np.arctan2(step[0, 1], step[0, 0])
    for t, (x, z) in enumerate(step):
        if np.hypot(x, z) > 0.25:
            turn = (np.arctan2(z, x) - last + np.pi) % (2 * np.pi) - np.pi
            last += np.clip(turn, -0.15, 0.15)
        heading[t] = last
    return heading + drift(len(path), 1, rng, 0.15, 1.0)[:, 0]


def drift(frames: int, columns: int, rng: np.random.Generator, deviation: float, seconds: float) -> Array:
    """(T, columns) a random value that forgets itself in `seconds` (Ornstein-Uhlenbeck)."""
    keep = np.exp(-1 / (seconds * RATE))
    noise = rng.normal(0, deviation * np.sqrt(1 - keep**2), (frames, columns))
    noise[0] = rng.normal(0, deviation, columns)
    for t in range(1, frames):
        noise[t] += keep * noise[t - 1]
    return noise


def crossing(rng: np.random.Generator, frames: int) -> Plan:
    """Two to four people go to and fro across the picture at nearly the same distance and pass each other."""
    walks = []
    for i in range(int(rng.integers(2, 5))):
        z = 6.5 + rng.uniform(-0.7, 0.7)
        side = 1 if i % 2 else -1
        ends = [(side * (-1) ** k * rng.uniform(1.5, 3.2), z + rng.uniform(-0.4, 0.4), rng.uniform(0, 0.5))
                for k in range(9)]  # fmt: skip
        walks.append(walk(ends, frames, rng, rng.uniform(1.0, 1.9)))
    return Plan(walks)


def meeting(rng: np.random.Generator, frames: int) -> Plan:
    """Two or three people come together, stand close or circle each other, and go on or back."""
    count, walks = int(rng.integers(2, 4)), []
    z = rng.uniform(5.5, 8)
    for i in range(count):
        side = 1 if i % 2 else -1
        points = [(side * rng.uniform(2, 3.2), z + rng.uniform(-0.5, 0.5), 0.0)]
        for _ in range(5):
            near, depth = rng.uniform(0.1, 0.35), rng.uniform(-0.45, 0.45)
            points.append((side * near, z + depth, rng.uniform(0.2, 1.2)))
            if rng.random() < 0.6:
                side = -side
                points.append((side * near, z - depth, rng.uniform(0, 0.8)))
            points.append((side * rng.uniform(1.5, 3), z + rng.uniform(-0.6, 0.6), rng.uniform(0, 0.4)))
        walks.append(walk(points, frames, rng, rng.uniform(0.9, 1.6)))
    return Plan(walks)


def pillar(rng: np.random.Generator, frames: int) -> Plan:
    """People walk behind columns."""
    walls = [Wall(x, x + rng.uniform(0.35, 0.9), 4.2) for x in (rng.uniform(-1.7, -0.9), rng.uniform(0.2, 1.0))]
    walks = []
    for i in range(3):
        z, side = 6 + 1.3 * i + rng.uniform(-0.3, 0.3), float(rng.choice([-1, 1]))
        ends = [(side * (-1) ** k * rng.uniform(0.25, 0.5) * z, z, rng.uniform(0, 0.5)) for k in range(8)]
        walks.append(walk(ends, frames, rng, rng.uniform(0.9, 1.6)))
    return Plan(walks, walls)


def overtaking(rng: np.random.Generator, frames: int) -> Plan:
    """People walk the same way, the faster ones pass behind or before the slower ones; then all turn."""
    walks, z = [], rng.uniform(5.5, 7)
    for i in range(4):
        depth = z + 0.45 * float(rng.permutation(4)[i]) + rng.uniform(-0.2, 0.2)
        start = -0.45 * depth - rng.uniform(-0.5, 0.8)
        ends = [(start, depth, 0.0), (0.5 * depth, depth, rng.uniform(0, 0.6)), (start, depth, 0.3), (0, depth, 9)]
        walks.append(walk(ends, frames, rng, rng.uniform(0.8, 2.0)))
    return Plan(walks)


def edge(rng: np.random.Generator, frames: int) -> Plan:
    """People leave at the picture's edge and come back soon after; one more walks about."""
    walks = []
    for i in range(int(rng.integers(2, 4))):
        z, side = rng.uniform(5, 8), (1 if i % 2 else -1)
        out = 0.64 * z
        points = [(side * rng.uniform(0.2, 1.0), z, rng.uniform(0, 0.5))]
        for _ in range(5):
            points.append((side * (out + rng.uniform(0.35, 0.8)), z + rng.uniform(-0.3, 0.3), rng.uniform(0, 0.5)))
            points.append((side * rng.uniform(0.1, 0.6) * out, z + rng.uniform(-0.5, 0.5), rng.uniform(0, 0.5)))
        walks.append(walk(points, frames, rng, rng.uniform(1.2, 2.0)))
    walks.append(walk([(0, 8.5, 0.4), (1.5, 8.5, 0.2), (-2, 8.5, 0.3), (2, 8.3, 9)], frames, rng, 1.1))
    return Plan(walks)


def wall(rng: np.random.Generator, frames: int) -> Plan:
    """People go behind a wall and come out on the same or on the other side, some at the same time."""
    left = rng.uniform(-1.6, -0.6)
    walls = [Wall(left, left + rng.uniform(1.2, 2.0), 4.5)]
    walks = []
    for i in range(int(rng.integers(2, 4))):
        z = 5.6 + 0.8 * i + rng.uniform(-0.2, 0.2)
        sides = np.array([walls[0].left, walls[0].right]) * z / 4.5
        at = int(rng.integers(2))
        points = [(sides[at] + (2 * at - 1) * rng.uniform(0.5, 1.4), z, rng.uniform(0, 0.4))]
        for _ in range(6):
            behind = sides[at] - (2 * at - 1) * rng.uniform(0.4, 0.6)
            points.append((behind, z, rng.uniform(0.0, 0.4)))
            at = 1 - at if rng.random() < 0.4 else at
            points.append((sides[at] + (2 * at - 1) * rng.uniform(0.5, 1.4), z, rng.uniform(0, 0.5)))
        walks.append(walk(points, frames, rng, rng.uniform(1.1, 1.9)))
    return Plan(walks, walls)


def wander(rng: np.random.Generator, frames: int, count: int, near: float, far: float) -> list[Walk]:
    """People who walk about, stand and turn."""
    walks = []
    for _ in range(count):
        points = []
        for _ in range(7):
            z = rng.uniform(near, far)
            points.append((rng.uniform(-0.55, 0.55) * z, z, rng.uniform(0, 1.5) * float(rng.random() < 0.5)))
        walks.append(walk(points, frames, rng, rng.uniform(0.5, 1.7)))
    return walks


def pan(rng: np.random.Generator, frames: int) -> Plan:
    """Five people, and a camera that pans to and fro."""
    t = np.arange(frames) / RATE
    x = rng.uniform(200, 380) * np.sin(2 * np.pi * t / rng.uniform(3.5, 6) + rng.uniform(0, 6))
    y = rng.uniform(5, 40) * np.sin(2 * np.pi * t / rng.uniform(3, 6))
    return Plan(wander(rng, frames, 5, 5, 10), motion=moved(np.ones(frames), np.stack([x, y], 1)))


def handheld(rng: np.random.Generator, frames: int) -> Plan:
    """Five people, and a camera held by hand that shakes, turns suddenly and zooms."""
    t = np.arange(frames) / RATE
    zoom = 1.15 + rng.uniform(0.1, 0.25) * np.sin(2 * np.pi * t / rng.uniform(2.5, 6) + rng.uniform(0, 6))
    turns = np.zeros((frames, 2))
    for start in rng.integers(0, frames, 5):
        turns[start:] += rng.normal(0, 120, 2) * [1, 0.2] / (1 + np.exp(-(t[start:, None] - t[start] - 0.3) * 14))
    shake = drift(frames, 2, rng, 14, 0.25) + turns - turns.mean(0)
    return Plan(wander(rng, frames, 5, 5, 10), motion=moved(zoom, shake))


def moved(zoom: Array, shift: Array) -> Array:
    """(T,) zoom about the image's centre and (T, 2) shift in pixels → (T, 2, 3) maps."""
    out = np.zeros((len(zoom), 2, 3))
    centre = np.array([WIDTH, HEIGHT]) / 2
    out[:, 0, 0] = out[:, 1, 1] = zoom
    out[:, :, 2] = centre * (1 - zoom[:, None]) + shift
    return out


def crowd(count: int, near: float = 8, far: float = 20) -> Callable[[np.random.Generator, int], Plan]:
    """A kind with `count` people who walk about, seen from above."""

    def plan(rng: np.random.Generator, frames: int) -> Plan:
        return Plan(wander(rng, frames, count, near, far), camera=Camera(6.0, -120.0))

    return plan


def flow(count: int) -> Callable[[np.random.Generator, int], Plan]:
    """A kind with two streams of people against each other, seen from above."""

    def plan(rng: np.random.Generator, frames: int) -> Plan:
        walks = []
        for i in range(count):
            z, side = rng.uniform(8, 18), (1 if i % 2 else -1)
            start = side * rng.uniform(-0.6, 0.3) * z
            points = [(start, z, 0.0), (side * 0.7 * z, z + rng.uniform(-1, 1), 0.3), (-side * 0.7 * z, z, 9)]
            walks.append(walk(points, frames, rng, rng.uniform(0.8, 1.7)))
        return Plan(walks, camera=Camera(6.0, -120.0))

    return plan


KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Plan], int]] = {  # and the number of frames
    "crossing": (crossing, 300), "meeting": (meeting, 300),
    "pillar": (pillar, 300), "overtaking": (overtaking, 300),
    "edge": (edge, 300), "wall": (wall, 300),
    "pan": (pan, 150), "handheld": (handheld, 150),
    "crowd5": (crowd(5, 6, 12), 300), "crowd5b": (flow(5), 300),
    "crowd30": (crowd(30), 200), "crowd30b": (flow(30), 200), "crowd100": (crowd(100), 120),
}  # fmt: skip


def make_scene(kind: str, seed: int, noise: Noise | None = None) -> Scene:
    """The scene of a kind and seed; equal arguments give equal scenes."""
    plan_of, frames = KINDS[kind]
    rng = np.random.default_rng([list(KINDS).index(kind), seed])
    plan = plan_of(rng, frames)
    time = np.arange(frames) / RATE
    points, pixels = [], []
    for w in plan.walks:
        speed = np.hypot(*np.gradient(w.place, axis=0).T) * RATE
        shape = skeleton(w.style, np.cumsum(speed) / RATE, speed, time)
        p, gain = seen(shape, w.place, w.heading, w.style.height, plan.camera)
        points.append(p)
        pixels.append(gain * w.style.height)
    p, tall = np.stack(points, 1), np.stack(pixels, 1)  # (T, P, 17, 2), (T, P)
    away = np.stack([w.place[:, 1] for w in plan.walks], 1)
    facing = np.stack([np.sin(w.heading) for w in plan.walks], 1)  # 1: away from the camera
    if plan.motion is not None:
        p = p * plan.motion[:, None, None, :1, 0] + plan.motion[:, None, None, :, 2]
        tall = tall * plan.motion[:, 0, 0, None]
    people = [people_of(p[t], tall[t], away[t], facing[t], walls_at(plan, t)) for t in range(frames)]
    frames_ = observed(people, noise or Noise.read(), rng, LEAST_SEEN)
    picture = None if plan.motion is None else pictures(plan, p, tall, away, seed)
    return Scene(kind, seed, frames_, picture)


def walls_at(plan: Plan, t: int) -> Array:
    """(W, 5) x1 y1 x2 y2 in the pixels of frame t, and how far away."""
    rows = []
    for w in plan.walls:
        gain = 1000.0 / w.away
        y = plan.camera.horizon + gain * plan.camera.height
        rows.append([WIDTH / 2 + gain * w.left, y - gain * w.tall, WIDTH / 2 + gain * w.right, HEIGHT, w.away])
    return np.array(rows).reshape(-1, 5)


def people_of(points: Array, tall: Array, away: Array, facing: Array, walls: Array) -> Bodies:
    """All figures of one frame: boxes, and which of their places are hidden, by whom."""
    boxes = box_of(points, tall)
    samples = body(points)  # (P, S, 2)
    hider = np.full(samples.shape[:2], -1)  # -1 free, -2 a wall or outside the image, else the figure in front
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    back, front = np.nonzero((low < high).all(-1) & (away[:, None] > away[None, :]))
    if len(back):
        hidden = inside(samples[back], points[front], tall[front])
        for b, f, h in zip(back, front, hidden, strict=True):
            hider[b, h] = f
    for x1, y1, x2, y2, far in walls:
        behind = (away > far)[:, None]
        hider[(samples > [x1, y1]).all(-1) & (samples < [x2, y2]).all(-1) & behind] = -2
    hider[(samples < 0).any(-1) | (samples >= [WIDTH, HEIGHT]).any(-1)] = -2
    return Bodies(points, boxes, samples, hider, facing)


def pictures(plan: Plan, points: Array, tall: Array, away: Array, seed: int) -> Callable[[int], Array]:
    """A function that draws frame t: a photograph seen by the moving camera, and the figures before it."""
    files = sorted(PHOTOGRAPHS.rglob("*.jpg"))
    photograph = cv2.imread(str(files[seed % len(files)]))
    assert photograph is not None
    assert plan.motion is not None
    gain = max(WIDTH / photograph.shape[1], HEIGHT / photograph.shape[0])
    background = cv2.resize(photograph, None, fx=gain, fy=gain)
    motion = plan.motion

    def image(t: int) -> Array:
        out = cv2.warpAffine(background, motion[t], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        for i in np.argsort(-away[t]):
            draw(out, points[t, i], float(tall[t, i]), plan.walks[i].style)
        return out

    return image
