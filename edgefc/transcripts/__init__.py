"""Transcripts: recorded questions and answers, as datasets for fine-tuning and as a regression test.

model = edgefc.load("demo", transcripts="talks.jsonl")   records every answer as a line
records = transcripts.read(["talks.jsonl"])              reads and checks them; an error names file and line
transcripts.export(records, "sharegpt")                  converts them to a dataset
transcripts.replay(model, records)                       asks the same questions again and compares
"""

from edgefc.transcripts.export import FORMATS, Dataset, export
from edgefc.transcripts.records import Record, read
from edgefc.transcripts.replay import ReplayResult, replay

__all__ = ["FORMATS", "Dataset", "Record", "ReplayResult", "export", "read", "replay"]
