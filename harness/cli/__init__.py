"""The command `bptt`: `main` has the options; the other files print what was found, one command each."""
