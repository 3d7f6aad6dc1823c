"""Before and around the routes: who is let in, with what, and how a problem is told."""
