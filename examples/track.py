"""How long was each person in the picture? Steady tracks of a video as a table: python examples/track.py CLIP.mp4"""

import sys
from collections import defaultdict

from yolopose import YOLO
from yolopose.track.reading import read_tracks


def main(clip: str, table: str = "tracks.csv") -> dict[int, float]:
    model = YOLO("yolov8n-face")  # or another, such as YOLO("yolov8n-pose.pt")
    model.track(clip, smooth="offline", save_tracks=table, verbose=False)
    tracks = read_tracks(table)
    times: dict[int, list[float]] = defaultdict(list)
    for number, time in zip(tracks.id.tolist(), tracks.time.tolist(), strict=True):
        times[number].append(time)
    for number, seen in times.items():
        print(f"id {number}: from {min(seen):.1f} to {max(seen):.1f} s, in {len(seen)} frames")
    return {number: max(seen) - min(seen) for number, seen in times.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
