"""A reading as a file of the plug-in contract: `text` writes it for `bptt init TARGET`, `glue` is what that file calls."""
