"""What an experiment is (`definition`), what is measured (`grids`, `plan`), where (`sweep`, `backends`), what is kept (`points`)."""
