"""A real Kafka and a real Postgres in a folder, and a process per service: what `dev`, `demo` and the tests run on.

Linux and macOS. Needs the extra `embedded`: the JRE and the Postgres binaries come as Python packages, the broker's
jars are fetched once per user. Everything listens on 127.0.0.1 only, and dies with the process that started it.
"""
