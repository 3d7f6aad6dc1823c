"""The gateway: HTTP in, commands out; answers from events and views."""
