//! The executor: loads programs, starts cells and owns what they start.
