"""Trainers of others: what they call, in their own shapes, and nothing of them inside the other rooms."""
