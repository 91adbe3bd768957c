"""The recipe of nano: vision pretraining on dense targets, then supervised trajectories of an oracle that looks."""
