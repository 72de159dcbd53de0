"""Parts of a training loop: `adapt` finds what a function or class claims to be, the others say how it is called."""
