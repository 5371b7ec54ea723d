"""Executed instructions per MAC of single kernels."""
