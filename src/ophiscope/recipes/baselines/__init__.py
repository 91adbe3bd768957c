"""The recipe of baselines that learn: constants, the words alone, and a classifier of a crop without language."""
