"""Experiments: comparisons of variants over seeds."""
