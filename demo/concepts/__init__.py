"""The concept bank: one module per domain, each with a list `CONCEPTS`.

Which tools are held back from training depends on their order: add new modules behind the last.
"""

MODULES = (
    "everyday", "examples", "household", "learning", "media", "office", "systems", "world", "zoo",
    "computers", "health", "home", "leisure", "money", "science", "travel", "work",
    "assistant", "business", "city", "functions", "hobbies", "lookups", "people", "trades",
)  # fmt: skip
