"""Benches: what the services take, measured on histories made for it."""
