"""From a firmware to a real board: its images, and the tools that bring them there."""
