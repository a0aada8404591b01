"""Tracking: give the detections of a video's frames ids that stay with a person or object."""
