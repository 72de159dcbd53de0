"""The pytest plug-in: `plugin` is loaded in every run and imports nothing; `register` is called where one of our options is used.

plans        which checks a target has             names        targets whose name cannot exist
outcome      what results make of a test           parametrize  `@bptt.parametrize`
cells        items for `--cell`                    record       what all items found, as one run
"""
