"""Measuring how well a model calls tools: suites of cases, their rules, resumable runs, tables and charts."""
