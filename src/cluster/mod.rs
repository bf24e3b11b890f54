//! The controller: a state machine over the metadata log, behind a quorum of one.
