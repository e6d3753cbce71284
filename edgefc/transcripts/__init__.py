"""Transcripts: what models were asked and answered, for fine-tuning and as a regression test.

model = edgefc.load("demo", transcripts="talks.jsonl")   every answer is a line of it
records = transcripts.read(["talks.jsonl"])              checked; an error names file and line
transcripts.export(records, "sharegpt")                  as datasets for fine-tuning have it
transcripts.replay(model, records)                       asks the same again, and compares
"""

from edgefc.transcripts.export import FORMATS, Exported, export
from edgefc.transcripts.records import Record, read
from edgefc.transcripts.replay import Replayed, replay

__all__ = ["FORMATS", "Exported", "Record", "Replayed", "export", "read", "replay"]
