//! Transfer learning: features of a frozen network, a new head, and fine-tuning in stages.
