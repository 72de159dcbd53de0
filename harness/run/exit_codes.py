"""Exit codes of the command, as reports/accounting.py decides them."""

from __future__ import annotations

from bptt.reports.accounting import CONFORMS as CONFORMS
from bptt.reports.accounting import DOES_NOT_CONFORM as DOES_NOT_CONFORM
from bptt.reports.accounting import INTERRUPTED as INTERRUPTED
from bptt.reports.accounting import NOT_DECIDED as NOT_DECIDED
from bptt.reports.accounting import NOTHING_CHECKED as NOTHING_CHECKED
from bptt.reports.accounting import PRECEDENCE as PRECEDENCE
from bptt.reports.accounting import TERMINATED as TERMINATED
from bptt.reports.accounting import USAGE as USAGE
from bptt.reports.accounting import gravest as gravest
