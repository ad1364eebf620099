"""Measurements of speed, memory and accuracy; see the README."""
