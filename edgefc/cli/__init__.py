"""The command line: arguments and printing only. Whatever it does, the Python API does too."""
