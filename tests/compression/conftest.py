"""Fixtures of the compression tests."""

from smallcoders import coders, density, folders, settings  # noqa: F401 - fixtures
