"""The promises, checked: over a real log and its views by `exledger verify`, over one in memory by the simulator."""
