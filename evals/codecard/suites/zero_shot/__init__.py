"""The zero-shot table: lm-eval tasks."""
