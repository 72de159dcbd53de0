"""Mistakes planted in a cell that nobody has published are named, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.graph.planting import planted, why

CELL = (Path(__file__).parents[3] / "examples" / "contract_cell.py").read_text()
DA_N, DA_Z = "da_n = dh * z * (1 - n**2)", "da_z = (dh * (n - h) + dzh * h) * z * (1 - z)"
DH = 'dh = dh * (1 - z) + dzh * z + da_z @ p["U_z"].T'
DXS = 'dxs[t] = da_n @ p["W_n"].T + da_z @ p["W_z"].T'
PLANTS = {
    "derivative left out": (DA_N, "da_n = dh * z", "derivative-missing"),
    "derivative without its square": (DA_N, "da_n = dh * z * (1 - n)", "derivative-wrong"),
    "half of a derivative": (DA_Z, "da_z = (dh * (n - h) + dzh * h) * z", "derivative-wrong"),
    "factor left out": (DA_N, "da_n = dh * (1 - n**2)", "factor-missing"),
    "other factor": (DA_N, "da_n = dh * (1 - z) * (1 - n**2)", "factor-wrong"),
    "other variable": (DA_Z, "da_z = (dh * (n - h) + dzh * n) * z * (1 - z)", "factor-wrong"),
    "edge left out": (DA_Z, "da_z = dh * (n - h) * z * (1 - z)", "edge-missing"),
    "edge left out of the carry": (DH, 'dh = dh * (1 - z) + dzh * z', "edge-missing"),
    "edge left out of the inputs": (DXS, 'dxs[t] = da_n @ p["W_n"].T', "edge-missing"),
    "sign": (DA_Z, "da_z = (dh * (n - h) - dzh * h) * z * (1 - z)", "edge-scaled"),
    "factor two": ('dp["W_n"] += x.T @ da_n', 'dp["W_n"] += 2 * x.T @ da_n', "edge-scaled"),
    "mean over the batch": ('dp["b_n"] += da_n.sum(axis=0)', 'dp["b_n"] += da_n.mean(axis=0)', "edge-scaled"),
    "not transposed": ('dzh = da_n @ p["U_n"].T', 'dzh = da_n @ p["U_n"]', "transposed"),
    "other matrix": ('dzh = da_n @ p["U_n"].T', 'dzh = da_n @ p["U_z"].T', "operand-wrong"),
    "other operand": ('dp["U_n"] += (z * h).T @ da_n', 'dp["U_n"] += h.T @ da_n', "operand-wrong"),
    "new state for old": ('dp["U_z"] += h.T @ da_z', 'dp["U_z"] += hs[t + 1].T @ da_z', "operand-wrong"),
    "other gradient": ('dp["U_n"] += (z * h).T @ da_n', 'dp["U_n"] += (z * h).T @ da_z', "other-gradient"),
    "overwritten": ('dp["W_n"] += x.T @ da_n', 'dp["W_n"] = x.T @ da_n', "edge-missing"),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_mistake_is_named_with_its_line(plant: str, tmp_path: Path) -> None:
    before, after, code = PLANTS[plant]
    subject, line = planted(CELL, before, after, tmp_path, "MinimalGatedUnit")
    found = why(subject)
    assert [cause.code for cause in found.causes] == [code], found
    source = found.causes[0].source
    assert source is not None
    assert abs(source.line - line) <= 1


def test_a_right_cell_has_no_cause(tmp_path: Path) -> None:
    subject, _ = planted(CELL, "da_n", "da_n", tmp_path, "MinimalGatedUnit")
    assert why(subject).causes == ()
