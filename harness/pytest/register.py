"""Puts the working parts of the plug-in in place.  Imported only where one of our options is used."""

from __future__ import annotations

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.pytest.cells import Cells, Scheduling, expectations
from bptt.harness.pytest.names import wrong_name
from bptt.harness.pytest.record import Properties, Report
from bptt.harness.run.record.actions import in_actions
from bptt.harness.run.record.report_files import checked_path


def register(config: pytest.Config) -> None:
    """Raises pytest.UsageError for a report that cannot be written."""
    try:
        reports = [checked_path(path, "--bptt-report") for path in config.option.bptt_reports]
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    if wrong := [said for target in config.option.bptt_cells if (said := wrong_name(target))]:
        raise pytest.UsageError(f"--cell {wrong[0]}")
    if config.option.bptt_cells:
        expectations(config)
        config.pluginmanager.register(Cells(config), "bptt-cells")
        config.pluginmanager.register(Scheduling(), "bptt-scheduling")
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []  # `pytest --cell TARGET` without paths is about the cell, not about the tests around it
    if reports or (in_actions() and config.option.bptt_cells):
        config.pluginmanager.register(Properties(), "bptt-properties")
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(Report(config, reports), "bptt-report")
