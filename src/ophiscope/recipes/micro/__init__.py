"""A world of numbers in which advantages are compared with many seeds."""
