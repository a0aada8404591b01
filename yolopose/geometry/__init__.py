"""Floor 0: boxes, keypoints and the letterbox, in NumPy."""
