"""The log: one protocol, two real implementations (Kafka and memory), one contract suite."""
