"""SQL by category."""
