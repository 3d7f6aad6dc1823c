"""The contract: what services say to each other and keep for ever. Pure; `schemas/` is generated from here."""
