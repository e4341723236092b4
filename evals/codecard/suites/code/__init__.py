"""Suites whose answers are programs with tests."""
