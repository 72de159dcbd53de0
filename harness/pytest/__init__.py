"""The pytest plug-in: `plugin` is loaded in every run and imports nothing; `register` is called where one of our options is used.

cells        items for `--cell`                  parametrize   `@bptt.parametrize`
record       what all items found, as one run
"""
