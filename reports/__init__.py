"""What a run found: its records, their storage, and the pages made of them.

records   the dataclasses of schema bptt/run@1        serial   Run <-> JSON
store     streams, files, merging                     text, page   the views
"""
