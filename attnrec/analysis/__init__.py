"""Figures made from run directories."""
