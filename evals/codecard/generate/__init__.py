"""Asking a model: the port and its adapters. torch and transformers are imported only when one is opened."""

from __future__ import annotations

from codecard.generate.backends import Opening, locate, open_generator
from codecard.generate.port import GenerationRequest, Generator, Message

__all__ = ["GenerationRequest", "Generator", "Message", "Opening", "locate", "open_generator"]
