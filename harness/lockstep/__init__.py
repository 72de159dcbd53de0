"""Two training loops on the same weights and the same batches, held together step by step: `lockstep` is `bptt.lockstep`."""
