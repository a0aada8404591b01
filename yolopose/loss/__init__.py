"""The training loss and the assignment of anchors to ground truth."""
