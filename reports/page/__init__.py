"""The run as one HTML file, in this order: `sections` (targets, failures), `rest` (beside them), `html` (the page of it all)."""
