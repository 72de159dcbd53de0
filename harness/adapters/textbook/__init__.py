"""NumPy as textbooks write it: classes for one step (`step`), for a whole sequence (`layer`), pairs of functions (`functions`)."""
