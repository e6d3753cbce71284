"""How well a model calls tools: suites of cases, their rules, runs that can be resumed, tables."""
