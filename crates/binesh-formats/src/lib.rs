//! Bytes of model files to networks. Nothing here runs a network.
#![forbid(unsafe_code)]
