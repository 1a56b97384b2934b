"""Measuring operators: how time and memory grow, workloads like real data, competitors by name."""
