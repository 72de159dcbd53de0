"""What wrong numbers say by themselves: `numbers` lays yours beside exact, `absence`, `place` and `size` look for one kind of pattern each,
`structure` asks them in order."""
