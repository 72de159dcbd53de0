"""What judges the parts of a training loop: right answers (`oracle`), what they are asked (`probes`), known mistakes (`mistakes/`)."""
