//! Single lives, told in a few lines each.
