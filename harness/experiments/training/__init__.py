"""What experiments train: networks in torch, tasks, corpora, and the panels that show how it went."""
