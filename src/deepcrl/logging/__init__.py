"""Records of a run: metric rows on disk, progress on the terminal."""
