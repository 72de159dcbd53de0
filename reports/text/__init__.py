"""The run as text, in this order: `lines` (rows, alignment, printing), `terminal_experiments`, `terminal`, and for machines that integrate:
`junit`, `markdown`, `github`."""
