"""What a model wrote, and what of it is judged. Pure."""
