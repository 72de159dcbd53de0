"""One import package, `bptt`: its door lies in src/bptt, and the three folders of the repository below it."""

from setuptools import find_packages, setup

ROOMS = ("refimpl", "harness", "reports")

setup(
    packages=["bptt", *(f"bptt.{name}" for name in find_packages(include=[f"{room}*" for room in ROOMS]))],
    package_dir={"bptt": "src/bptt", **{f"bptt.{room}": room for room in ROOMS}},
    package_data={"bptt": ["py.typed"], "bptt.reports": ["templates/*"]},
)
