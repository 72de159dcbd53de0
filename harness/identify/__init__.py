"""Which published cell an unknown implementation is, from its outputs alone: readings of its shapes (`search`), settled by runs
with weights of our choice (`probing`, `influence`); several layers (`stacks`, `units`); one known difference (`forward_bug`)."""
