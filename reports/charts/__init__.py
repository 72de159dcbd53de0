"""Charts as small inline SVG, in this order: `svg`, `drawing` (colours, axes, what every chart is), `trend` (a curve in words),
`curves`, `errors` and `scatter` (of a tensor, entry by entry), `ratios` (speeds), `contours`, `pictures` (grids, histograms, intervals),
`frames` (several things in one chart, each labelled at its end), `discs` (points of the complex plane).

Conventions   measured: a thin line, each curve with its own dashes       theory: a wide pale band under the line that it is of
              a logarithmic axis of sizes: 1e-3, 1e0; of counts and ratios: 1 2 5 10
              every chart says its trend with numbers to who cannot see it, and has its data as a table beside it
"""
