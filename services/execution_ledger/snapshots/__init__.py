"""Snapshots: folded state kept as objects, so that restart time and memory do not grow with history."""
