"""What the views hold, as callers read it."""
