"""GGUF files: reading their header, checking what llama.cpp would refuse, predicting memory."""

from edgefc.gguf.reader import ArrayLength, Header, read_header, read_metadata, read_model, split_files

__all__ = ["ArrayLength", "Header", "read_header", "read_metadata", "read_model", "split_files"]
