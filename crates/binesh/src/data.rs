//! Photos with labels: found in folders or a table, checked, split, augmented and read ahead.
