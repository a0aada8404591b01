"""The filters for all tracks at once against the full 8 x 8 matrices of the published ones."""

import numpy as np
import pytest

from yolopose.track.kalman import BoxFilter


class Full:
    """A Kalman filter as in the textbook: state (8,), covariance (8, 8), positions first."""

    def __init__(self, box: np.ndarray, aspect: bool) -> None:
        self.aspect = aspect
        z = self.measure(box)
        position, velocity, _ = self.noise(box[2] - box[0], box[3] - box[1])
        first_p, first_v = 2 * position, 10 * velocity
        if aspect:
            first_p[2], first_v[2] = 1e-2, 1e-5
        self.x = np.concatenate((z, np.zeros(4)))
        self.p = np.diag(np.concatenate((first_p, first_v)) ** 2)

    def measure(self, box: np.ndarray) -> np.ndarray:
        w, h = box[2] - box[0], box[3] - box[1]
        return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, w / h if self.aspect else w, h])

    def noise(self, w: float, h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standard deviations: of motion, of velocity, of measurement."""
        if not self.aspect:
            sides = np.array([w, h, w, h])
            return sides / 20, sides / 160, sides / 20
        return (
            np.array([h / 20, h / 20, 1e-2, h / 20]),
            np.array([h / 160, h / 160, 1e-5, h / 160]),
            np.array([h / 20, h / 20, 1e-1, h / 20]),
        )

    def sides(self) -> tuple[float, float]:
        return (self.x[2] * self.x[3] if self.aspect else self.x[2]), self.x[3]

    def predict(self) -> None:
        position, velocity, _ = self.noise(*self.sides())
        f = np.eye(8) + np.eye(8, k=4)
        self.x = f @ self.x
        self.p = f @ self.p @ f.T + np.diag(np.concatenate((position, velocity)) ** 2)

    def update(self, box: np.ndarray) -> None:
        h = np.eye(4, 8)
        s = h @ self.p @ h.T + np.diag(self.noise(*self.sides())[2] ** 2)
        gain = self.p @ h.T @ np.linalg.inv(s)
        self.x = self.x + gain @ (self.measure(box) - h @ self.x)
        self.p = self.p - gain @ s @ gain.T

    def blocks(self) -> np.ndarray:
        """The (4, 5) form of `BoxFilter`; fails if anything outside of it is not 0."""
        i = np.arange(4)
        inside = np.zeros((8, 8), bool)
        inside[np.r_[i, i, i + 4, i + 4], np.r_[i, i + 4, i, i + 4]] = True
        assert np.abs(self.p[~inside]).max() == 0
        return np.stack((self.x[:4], self.x[4:], self.p[i, i], self.p[i, i + 4], self.p[i + 4, i + 4]), axis=1)


@pytest.mark.parametrize("aspect", [False, True])
def test_the_blocks_are_the_full_filter(aspect: bool) -> None:
    rng = np.random.default_rng(3)
    boxes = np.concatenate((corner := rng.uniform(0, 900, (6, 2)), corner + rng.uniform(20, 300, (6, 2))), axis=1)
    motion = BoxFilter(aspect=aspect)
    state = motion.start(boxes)
    full = [Full(box, aspect) for box in boxes]
    for frame in range(40):
        motion.predict(state)
        boxes = boxes + rng.normal(2, 3, boxes.shape)
        seen = np.flatnonzero(rng.uniform(size=6) < 0.8)
        state[seen] = motion.update(state[seen], boxes[seen])
        for i, one in enumerate(full):
            one.predict()
            if i in seen:
                one.update(boxes[i])
        np.testing.assert_allclose(state, [one.blocks() for one in full], rtol=1e-9, atol=1e-9, err_msg=f"{frame}")


def test_a_step_of_two_frames_is_nearly_two_steps() -> None:
    motion = BoxFilter()
    start = motion.start(np.array([[10.0, 20, 110, 320]]))
    start[..., 1] = (4, -2, 0, 0)
    once, twice = start.copy(), start.copy()
    motion.predict(once, 2.0)
    motion.predict(twice)
    motion.predict(twice)
    np.testing.assert_allclose(once[..., :2], twice[..., :2])
    np.testing.assert_allclose(once[..., 2:], twice[..., 2:], rtol=0.02)


@pytest.mark.parametrize("aspect", [False, True])
def test_boxes_come_back_and_stay_boxes_after_a_long_prediction(aspect: bool) -> None:
    motion = BoxFilter(aspect=aspect)
    boxes = np.array([[10.0, 20, 110, 320], [5, 5, 6, 6]])
    state = motion.start(boxes)
    np.testing.assert_allclose(motion.boxes(state), boxes)
    state[:, 2:, 1] = -9  # shrinks
    motion.predict(state, 1000.0)
    sides = np.diff(motion.boxes(state).reshape(2, 2, 2), axis=1)
    assert (sides >= 1).all()
    state[:, 2:, 1] = -9
    motion.stop_growing(state, np.array([True, False]))
    assert (state[:, 3, 1] == [0, -9]).all()
