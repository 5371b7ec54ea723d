"""From a compiled model to a real board: the firmware, its images, the tools that bring them there."""
