"""Turning episodes into gradients: collection, batches, losses, supervised training."""
