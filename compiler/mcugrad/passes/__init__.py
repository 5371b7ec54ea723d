"""Relax function in, Relax function out: see README.md."""
