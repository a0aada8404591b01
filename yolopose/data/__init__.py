"""Data sets: labels, augmentation, conversion and audit."""
