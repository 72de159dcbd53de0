"""Mistakes in a cell and in its loop over time.

elman, gru, lstm, lstm_peephole   the cells' backward passes      gates   what can be made at every gate alike
loop                              the loop over time, of any cell
forward                           forward passes of all of them: mistakes, and conventions that look like one
"""
