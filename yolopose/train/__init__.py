"""Training: loss, assigner, optimizer and the loop."""
