"""Bounds and a schedule recommended for somebody's own data and network."""
