"""What theory says of gradients through time, and the instruments that measure it: Jacobians, exponents, bounds, mean fields."""
