"""The pytest plug-in: `plugin` is loaded in every run and imports nothing; `cells` is loaded where one of our options is used."""
