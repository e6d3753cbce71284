"""Programs of strangers: chat templates that came with a model file, run in a process that can be killed."""
