"""How gradients flow through one subject, in this order: single steps and their lags (`advisor`, `stepping`, `truncated_bptt`), what its
gates and weights are like (`paths`, `saturation`, `usual_starts`), a user's own files (`given`), the panels made of all this
(`flow_panels`, `lesson_panels`, `comparing`)."""
