"""What a run leaves, in this order: what a target was made of (`sources`), what an earlier run knows of it (`resuming`), events put
together (`gathering`), and the files that are made of them (`report_files`)."""
