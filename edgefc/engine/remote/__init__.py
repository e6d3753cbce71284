"""Lets another inference server compute: token ids and a grammar go out, every token that comes back is checked."""
