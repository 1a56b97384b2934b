"""Measuring operators: how time and memory grow, realistic workloads, named competitors."""
