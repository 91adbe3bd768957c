"""The recipe of nano-seg, the embedded promptable segmenter."""
