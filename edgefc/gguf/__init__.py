"""GGUF files: reading the header, checking for what llama.cpp would abort on, predicting memory."""

from edgefc.gguf.header import ArrayLength, Header
from edgefc.gguf.reader import read_header, read_metadata, read_model, split_files

__all__ = ["ArrayLength", "Header", "read_header", "read_metadata", "read_model", "split_files"]
