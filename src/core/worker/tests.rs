//! The transition table of a worker, printed and compared.
