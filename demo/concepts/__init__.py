"""The concept bank: one module per domain, each with a list `CONCEPTS`."""
