"""Builds the firmware of a compiled model and runs it, on this machine or on an emulated board, and measures it.

board (what a target is) → build (sources to ELF) → stack (bound) and session (what the firmware is to do) → run.
"""
