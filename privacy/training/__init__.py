"""One private step: which patients, whose gradients clipped how, and what noise."""
