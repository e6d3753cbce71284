"""The version of edgefc, importable from anywhere without the package's face."""

__version__ = "0.1.0"
